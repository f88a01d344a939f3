import { type Client, type ClientFile, KEY, type Language, type Text } from './client.ts'

/** The page’s own words. */
const WORDS = {
  title: { en: 'Clients for this server', zh: '可用于本服务器的客户端' },
  lead: {
    en: 'Each is filled in for this server, all but the key.',
    zh: '以下配置已按本服务器填好，只差密钥。',
  },
  server: { en: 'Server', zh: '服务器' },
  upload: { en: 'Upload', zh: '上传' },
  other: { en: '中文', zh: 'English' },
  key: { en: 'API key', zh: 'API 密钥' },
  keyHint: {
    en: `It replaces \`${KEY}\` below and in the downloads, in this browser alone: it is not sent anywhere.`,
    zh: `它会替换下文和下载文件里的 \`${KEY}\`，只在本浏览器内进行，不会发送到任何地方。`,
  },
  keyOdd: {
    en: 'This key has characters that the files would need escaped: put it in by hand.',
    zh: '此密钥含有需要转义的字符，请手动填入文件。',
  },
  copy: { en: 'Copy', zh: '复制' },
  copied: { en: 'Copied', zh: '已复制' },
  notCopied: { en: 'Could not copy', zh: '无法复制' },
  download: { en: 'Download', zh: '下载' },
} satisfies Record<string, Text>

/** The page at `/clients`, whole but for the key. `base` is the server’s address. */
export function clientsPage(clients: readonly Client[], base: string, language: Language): string {
  const word = (name: keyof typeof WORDS) => escaped(WORDS[name][language])
  const { lang, other } = { en: { lang: 'en', other: 'zh' }, zh: { lang: 'zh-CN', other: 'en' } }[language]
  const entries = clients.map(({ id, name }) => `<li><a href="#${id}">${escaped(name)}</a></li>`)
  return `<!doctype html>
<html lang="${lang}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${word('title')} · Layover</title>
<link rel="icon" href="page/icon.svg">
<link rel="stylesheet" href="page/page.css">
<link rel="stylesheet" href="page/clients.css">
<script type="module" src="page/clients.js"></script>
</head>
<body>
<header>
<a class="brand" href="./"><img src="page/icon.svg" alt="" width="28" height="28">Layover</a>
<nav>
<a href="./">${word('upload')}</a>
<a href="docs">API</a>
<a href="clients?lang=${other}" lang="${other}" hreflang="${other}">${word('other')}</a>
</nav>
</header>
<main class="clients">
<h1>${word('title')}</h1>
<p class="lead">${word('lead')} ${word('server')}: <code>${escaped(base)}</code></p>
<div class="panel" id="key-panel" hidden>
<label for="key">${word('key')}</label>
<input id="key" type="password" autocomplete="off" autocapitalize="off" spellcheck="false" aria-describedby="key-hint key-fault">
<p id="key-fault" class="fault" role="alert" data-odd="${word('keyOdd')}"></p>
<p id="key-hint" class="hint">${marked(WORDS.keyHint[language])}</p>
</div>
<ul class="contents">
${entries.join('\n')}
</ul>
${clients.map((client) => section(client, language)).join('\n')}
<p id="said" role="status" class="unseen" data-copied="${word('copied')}" data-not-copied="${word('notCopied')}"></p>
</main>
</body>
</html>
`
}

function section({ id, name, platforms, about, steps, files }: Client, language: Language): string {
  const items = steps.map((step) => `<li>${marked(step[language])}</li>`)
  return `<section id="${id}" aria-labelledby="${id}-name">
<h2 id="${id}-name">${escaped(name)}</h2>
<p>${marked(about[language])} <small>${escaped(platforms)}</small></p>
<ol>
${items.join('\n')}
</ol>
${files.map((file) => fileBlock(id, file, language)).join('\n')}
</section>`
}

/** The buttons work when the page’s script does; the link always. */
function fileBlock(id: string, { name, text }: ClientFile, language: Language): string {
  const label = escaped(name)
  const [copy, download] = [WORDS.copy[language], WORDS.download[language]]
  return `<div class="file">
<div class="file-head"><code>${label}</code>
<a href="clients/${id}/${encodeURIComponent(name)}" download="${label}" aria-label="${download} ${label}">${download}</a>
<button type="button" hidden aria-label="${copy} ${label}">${copy}</button></div>
<pre tabindex="0"><code class="text">${escaped(text)}</code></pre>
</div>`
}

/** With what stands between backticks as code. */
function marked(text: string): string {
  return escaped(text).replace(/`([^`]+)`/g, '<code>$1</code>')
}

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

/** For an element’s text, and for an attribute’s value in quotes. */
export function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '')
}
