/**
 * What can be copied of an image, by the name of its button. A URL of ours has no character that any of these would have to escape;
 * a file's name has, so that it stands in none of them but Markdown and HTML.
 *
 * @param {{ url: string, name: string, width?: number | null, height?: number | null }} image
 * @returns {{ label: string, text: string }[]}
 */
export function snippetsOf({ url, name, width, height }) {
  const title = name.replace(/\.\w+$/, '')
  const size = width && height ? ` width="${width}" height="${height}"` : ''
  return [
    { label: 'URL', text: url },
    { label: 'Markdown', text: `![${title.replace(/[\\[\]<>`*_!]/g, '\\$&')}](${url})` },
    { label: 'HTML', text: `<img src="${url}" alt="${escapeHtml(title)}"${size}>` },
    { label: 'curl', text: `curl -fO '${url}'` },
    { label: 'OpenAI', text: openAi(url) },
  ]
}

/** @param {string} text */
function escapeHtml(text) {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)
}

/** In Python, in the shape that OpenAI's API and those that are compatible with it take. @param {string} url */
function openAi(url) {
  return `from openai import OpenAI

answer = OpenAI().chat.completions.create(
    model="gpt-4o-mini",
    messages=[{"role": "user", "content": [
        {"type": "text", "text": "What is in this image?"},
        {"type": "image_url", "image_url": {"url": "${url}"}},
    ]}],
)
print(answer.choices[0].message.content)
`
}
