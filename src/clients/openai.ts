import { type Client, KEY, literal, type ServerFacts, textFile } from './client.ts'

/** openai 7 for Node and 3 for Python: their `post` takes any path, and this server's errors are their own. */
export function openai({ base }: ServerFacts): Client {
  return {
    id: 'openai',
    name: 'OpenAI',
    platforms: 'Windows, macOS, Linux',
    about: {
      en: 'Uploads an image with OpenAI’s own client, and shows it to a model.',
      zh: '用 OpenAI 官方客户端上传图片，并交给模型识别。',
    },
    steps: [
      {
        en: 'Node: `npm install openai`, then `node ask.mjs photo.jpg`. Python: `pip install openai`, then `python3 ask.py photo.jpg`.',
        zh: 'Node：`npm install openai`，然后 `node ask.mjs photo.jpg`。Python：`pip install openai`，然后 `python3 ask.py photo.jpg`。',
      },
      {
        en: 'The model’s key is in OPENAI_API_KEY, its address in OPENAI_BASE_URL if it is not OpenAI’s, its name in MODEL. Its servers must be able to reach this one.',
        zh: '模型的密钥放在 OPENAI_API_KEY；如果不是 OpenAI，地址放在 OPENAI_BASE_URL；模型名放在 MODEL。模型的服务器必须能访问本服务器。',
      },
    ],
    files: [textFile('ask.mjs', nodeScript(base)), textFile('ask.py', pythonScript(base))],
  }
}

function nodeScript(base: string): string {
  return `import { createReadStream } from 'node:fs'
import OpenAI, { toFile } from 'openai'

const layover = new OpenAI({ baseURL: ${literal(`${base}/v1`)}, apiKey: process.env.LAYOVER_KEY ?? ${literal(KEY)} })
const body = new FormData()
body.append('file', await toFile(createReadStream(process.argv[2])))
const { url } = await layover.post('/files/uploads', { body })

const { choices } = await new OpenAI().chat.completions.create({
  model: process.env.MODEL ?? 'gpt-4o-mini',
  messages: [
    {
      role: 'user',
      content: [
        { type: 'text', text: 'What is in this image?' },
        { type: 'image_url', image_url: { url } },
      ],
    },
  ],
})
console.log(choices[0].message.content)
`
}

function pythonScript(base: string): string {
  return `import os
import sys

from openai import OpenAI

layover = OpenAI(base_url=${literal(`${base}/v1`)}, api_key=os.environ.get("LAYOVER_KEY", ${literal(KEY)}))
with open(sys.argv[1], "rb") as image:
    uploaded = layover.post(
        "/files/uploads",
        cast_to=object,
        files={"file": image},
        options={"headers": {"Content-Type": "multipart/form-data"}},
    )

answer = OpenAI().chat.completions.create(
    model=os.environ.get("MODEL", "gpt-4o-mini"),
    messages=[
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is in this image?"},
                {"type": "image_url", "image_url": {"url": uploaded["url"]}},
            ],
        }
    ],
)
print(answer.choices[0].message.content)
`
}
