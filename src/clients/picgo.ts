import { BEARER, type Client, fieldsFile, jsonFile, type ServerFacts } from './client.ts'

/**
 * PicGo 2 and 3, and its command line, with picgo-plugin-web-uploader 1.1.1. The command (3.1.0) prints the URL and then waits for as long as the
 * connection is kept, so it asks for it to be closed.
 */
export function picgo({ base }: ServerFacts): Client {
  const fields = {
    url: `${base}/api/upload`,
    paramName: 'file',
    jsonPath: 'data',
    customHeader: JSON.stringify({ Authorization: BEARER, Connection: 'close' }),
    customBody: '',
  }
  return {
    id: 'picgo',
    name: 'PicGo',
    platforms: 'Windows, macOS, Linux',
    about: {
      en: 'The app, and PicGo-Core, its command line. Both use the plugin `web-uploader`.',
      zh: 'PicGo 客户端和命令行 PicGo-Core，都使用插件 `web-uploader`。',
    },
    steps: [
      {
        en: 'In the app: Plugin settings, search for `web-uploader`, install it; then fill its fields with the values in `fields.txt` below and make it the default.',
        zh: '客户端：在“插件设置”中搜索 `web-uploader` 并安装；在图床“自定义Web图床”里填入下面 `fields.txt` 中的各项，并设为默认图床。',
      },
      {
        en: 'On the command line: `npm install -g picgo`, `picgo install web-uploader`, and save `config.json` in the folder `.picgo` of your home.',
        zh: '命令行：`npm install -g picgo`，`picgo install web-uploader`，再把 `config.json` 保存到主目录的 `.picgo` 文件夹。',
      },
      {
        en: 'Try it: `picgo upload photo.jpg`. If it says SUCCESS and no URL follows, the key or the address is wrong.',
        zh: '试一试：`picgo upload photo.jpg`。如果显示 SUCCESS 却没有链接，说明密钥或地址有误。',
      },
    ],
    files: [
      fieldsFile(fields),
      jsonFile('config.json', {
        picBed: {
          current: 'web-uploader',
          uploader: 'web-uploader',
          'web-uploader': fields,
        },
        picgoPlugins: { 'picgo-plugin-web-uploader': true },
      }),
    ],
  }
}
