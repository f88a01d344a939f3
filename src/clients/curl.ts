import { type Client, inShell, KEY, type ServerFacts, textFile } from './client.ts'

/** curl 7.76 or newer. */
export function curl({ base, hasLinks }: ServerFacts): Client {
  return {
    id: 'curl',
    name: 'curl',
    platforms: 'Windows, macOS, Linux',
    about: { en: 'From a shell or a script.', zh: '用于终端和脚本。' },
    steps: [
      {
        en: '`form.sh` sends a form, in one line.',
        zh: '`form.sh`：一行命令，以表单上传。',
      },
      ...(hasLinks
        ? [
            {
              en: '`link.sh` asks for a link and sends the image to it with `-T`, which needs no key any more.',
              zh: '`link.sh`：先申请一个上传链接，再用 `-T` 发送图片，这一步不再需要密钥。',
            },
          ]
        : []),
    ],
    files: [
      textFile(
        'form.sh',
        `curl -H 'Authorization: Bearer ${KEY}' -F file=@photo.jpg ${inShell(`${base}/api/upload`)}\n`,
      ),
      ...(hasLinks ? [textFile('link.sh', linkScript(base))] : []),
    ],
  }
}

/** A bucket takes whatever has the size and type that were agreed on: whether it is an image, only the server says. */
function linkScript(base: string): string {
  return `image=photo.jpg type=image/jpeg
link=$(curl -sS -H 'Authorization: Bearer ${KEY}' -H 'Content-Type: application/json' \\
  -d "{\\"content_type\\":\\"$type\\",\\"size\\":$(wc -c <"$image")}" ${inShell(`${base}/v1/files/uploads/presign`)})
to=$(printf '%s' "$link" | sed -n 's/.*"upload_url":"\\([^"]*\\)".*/\\1/p')
id=$(printf '%s' "$link" | sed -n 's/.*"id":"\\([^"]*\\)".*/\\1/p')
if [ -z "$to" ]; then
  printf '%s\\n' "$link" >&2
  false
elif curl -sS --fail-with-body -H "Content-Type: $type" -T "$image" "$to" >&2; then
  if taken=$(curl -sS --fail-with-body -X POST -H 'Authorization: Bearer ${KEY}' ${inShell(`${base}/v1/files/uploads/`)}"$id"/complete); then
    printf '%s\\n' "$taken" | sed 's/.*"url":"\\([^"]*\\)".*/\\1/'
  else
    printf '%s\\n' "$taken" >&2
    false
  fi
else
  false
fi
`
}
