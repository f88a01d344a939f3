import { BEARER, type Client, fieldsFile, jsonFile, type ServerFacts } from './client.ts'

/** PicList 2 and 3, and PicList-Core: the uploader that is called `advancedplist` in `src/plugins/uploader/advancedplist.ts`. */
export function piclist({ base }: ServerFacts): Client {
  const fields = {
    endpoint: `${base}/api/upload`,
    method: 'POST',
    formDataKey: 'file',
    headers: JSON.stringify({ Authorization: BEARER }),
    body: '{}',
    customPrefix: '',
    webPath: '',
    resDataPath: 'data',
  }
  return {
    id: 'piclist',
    name: 'PicList',
    platforms: 'Windows, macOS, Linux',
    about: {
      en: 'Has an uploader for servers like this one built in: “Advanced”.',
      zh: '自带适合本服务器的上传方式：“高级自定义”（Advanced）。',
    },
    steps: [
      {
        en: 'In the app: choose the uploader “Advanced” and fill its fields with the values in `fields.txt` below; leave the others empty. Make it the default.',
        zh: '客户端：选择图床“高级自定义”，填入下面 `fields.txt` 中的各项，其余留空，并设为默认图床。',
      },
      {
        en: 'With PicList-Core: save `config.json` in the folder `.piclist` of your home, then `picgo upload photo.jpg`.',
        zh: 'PicList-Core：把 `config.json` 保存到主目录的 `.piclist` 文件夹，然后运行 `picgo upload photo.jpg`。',
      },
    ],
    files: [
      fieldsFile(fields),
      jsonFile('config.json', {
        picBed: {
          current: 'advancedplist',
          uploader: 'advancedplist',
          advancedplist: fields,
        },
        picgoPlugins: {},
      }),
    ],
  }
}
