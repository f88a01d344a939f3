import { type Client, KEY, literal, type ServerFacts, textFile } from './client.ts'

/** requests 2; what it sends is the form of its own quickstart, “POST a Multipart-Encoded File”. */
export function python({ base }: ServerFacts): Client {
  return {
    id: 'python',
    name: 'Python',
    platforms: 'Windows, macOS, Linux',
    about: { en: 'With `requests`.', zh: '使用 `requests`。' },
    steps: [
      {
        en: '`pip install requests`, then `python3 layover.py photo.jpg`. LAYOVER_KEY in the environment counts more than the key in the file.',
        zh: '`pip install requests`，然后 `python3 layover.py photo.jpg`。环境变量 LAYOVER_KEY 优先于文件里的密钥。',
      },
    ],
    files: [textFile('layover.py', script(base))],
  }
}

function script(base: string): string {
  return `import os
import sys

import requests

URL = ${literal(`${base}/api/upload`)}
KEY = os.environ.get("LAYOVER_KEY", ${literal(KEY)})

for path in sys.argv[1:]:
    with open(path, "rb") as image:
        response = requests.post(
            URL, headers={"Authorization": "Bearer " + KEY}, files={"file": image}, timeout=300
        )
    answer = response.json()
    if not answer["success"]:
        sys.exit(path + ": " + answer["message"])
    print(answer["data"])
`
}
