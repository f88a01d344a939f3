import type { Client } from './client.ts'

/** “Image auto upload” 3 and 4 (renmu123/obsidian-image-auto-upload-plugin): it speaks to PicGo, PicList or PicGo-Core on the same machine. */
export function obsidian(): Client {
  return {
    id: 'obsidian',
    name: 'Obsidian',
    platforms: 'Windows, macOS, Linux',
    about: {
      en: 'The community plugin “Image auto upload” uploads what you paste. It does so through PicGo or PicList.',
      zh: '社区插件“Image auto upload”会上传粘贴的图片，它通过 PicGo 或 PicList 上传。',
    },
    steps: [
      {
        en: 'Set up PicGo or PicList as above. The apps then listen at `http://127.0.0.1:36677/upload`; with the command line, keep `picgo server` running.',
        zh: '先按上文配置好 PicGo 或 PicList。客户端会监听 `http://127.0.0.1:36677/upload`；用命令行时请保持 `picgo server` 运行。',
      },
      {
        en: 'In Obsidian: Settings → Community plugins → Browse, install “Image auto upload” and enable it.',
        zh: '在 Obsidian：设置 → 第三方插件 → 浏览，安装并启用“Image auto upload”。',
      },
      {
        en: 'In its settings: Default uploader “PicGo(app)”, PicGo server `http://127.0.0.1:36677/upload`. Leave “Remote server mode” off.',
        zh: '在插件设置中：默认上传器选“PicGo(app)”，PicGo server 填 `http://127.0.0.1:36677/upload`，不要打开“远程服务器模式”。',
      },
      {
        en: 'Images expire here: for notes that are kept, the server’s LIFETIME must be long, or `never`.',
        zh: '这里的图片会过期：要长期保存的笔记，需要服务器的 LIFETIME 足够长，或为 `never`。',
      },
    ],
    files: [],
  }
}
