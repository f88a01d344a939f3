import { type Client, inPowerShell, inShell, KEY, type ServerFacts, textFile } from './client.ts'

/** Typora (support.typora.io/Upload-Image): the command gets the images' paths, and its last lines are their URLs. */
export function typora({ base }: ServerFacts): Client {
  return {
    id: 'typora',
    name: 'Typora',
    platforms: 'Windows, macOS, Linux',
    about: {
      en: 'Uploads the images that you paste into a document, by a small script.',
      zh: '用一个小脚本上传粘贴进文档的图片。',
    },
    steps: [
      {
        en: 'macOS and Linux: save `layover.sh`; Preferences → Image → Image Uploader: Custom Command, and there `sh /path/to/layover.sh`.',
        zh: 'macOS 和 Linux：保存 `layover.sh`；偏好设置 → 图像 → 上传服务：自定义命令，填入 `sh /path/to/layover.sh`。',
      },
      {
        en: 'Windows: save `layover.ps1`; the command is `powershell -NoProfile -ExecutionPolicy Bypass -File C:\\path\\to\\layover.ps1`.',
        zh: 'Windows：保存 `layover.ps1`；命令为 `powershell -NoProfile -ExecutionPolicy Bypass -File C:\\path\\to\\layover.ps1`。',
      },
      {
        en: 'Press “Test Uploader”. For images to be uploaded as they are pasted: When Insert → Upload image.',
        zh: '点击“验证图片上传选项”。要在粘贴时上传：插入图片时 → 上传图片。',
      },
    ],
    files: [
      textFile('layover.sh', shellScript(base)),
      // Windows PowerShell takes a file for UTF-8 only with a mark; this one is plain ASCII unless the address is not.
      textFile('layover.ps1', powerShellScript(base)),
    ],
  }
}

/** By standard input, as a path can have characters that mean something to `-F`. */
function shellScript(base: string): string {
  return `#!/bin/sh
# Uploads images to Layover and prints their URLs, one a line. Needs curl.
key="\${LAYOVER_KEY:-${KEY}}"
for image in "$@"; do
  answer=$(curl -sS -H "Authorization: Bearer $key" -F 'file=@-;filename=image' ${inShell(`${base}/api/upload`)} <"$image") || exit 1
  url=$(printf '%s' "$answer" | sed -n 's/.*"data":"\\([^"]*\\)".*/\\1/p')
  if [ -z "$url" ]; then
    printf '%s: %s\\n' "$image" "$answer" >&2
    exit 1
  fi
  printf '%s\\n' "$url"
done
`
}

function powerShellScript(base: string): string {
  return `# Uploads images to Layover and prints their URLs, one a line. Uses the curl.exe of Windows 10 and newer.
$key = if ($env:LAYOVER_KEY) { $env:LAYOVER_KEY } else { '${KEY}' }
foreach ($image in $args) {
  $answer = curl.exe -sS -H "Authorization: Bearer $key" -F "file=@$image" ${inPowerShell(`${base}/api/upload`)} | ConvertFrom-Json
  if (-not $answer.success) {
    [Console]::Error.WriteLine("\${image}: $($answer.message)")
    exit 1
  }
  $answer.data
}
`
}
