import { BEARER, type Client, jsonFile, type ServerFacts } from './client.ts'

/**
 * ShareX, as of 15.0 (getsharex.com/docs/custom-uploader, and `CustomUploaderItem.cs` of the program): `{json:…}` and `{header:…}` take from the
 * answer, and braces, `|` and `\` of an address are escaped. It opens the deletion URL in a browser, where our page asks first.
 */
export function sharex({ base }: ServerFacts): Client {
  return {
    id: 'sharex',
    name: 'ShareX',
    platforms: 'Windows',
    about: {
      en: 'Screenshots that upload themselves, and put the URL into the clipboard.',
      zh: '截图后自动上传，并把链接放进剪贴板。',
    },
    steps: [
      {
        en: 'Download `layover.sxcu`, double-click it, and let ShareX make it the active uploader.',
        zh: '下载 `layover.sxcu`，双击打开，并让 ShareX 把它设为当前上传器。',
      },
      {
        en: 'If it is not: Destinations → Image uploader → Custom image uploader, and there “Layover”.',
        zh: '如果没有生效：目标 → 图片上传 → 自定义图片上传，选择“Layover”。',
      },
      {
        en: 'To delete an image, open its deletion URL from the history: the page asks before it deletes.',
        zh: '要删除图片，在历史记录里打开它的删除链接：页面会先询问再删除。',
      },
    ],
    files: [
      jsonFile('layover.sxcu', {
        Version: '15.0.0',
        Name: `Layover (${new URL(base).host})`,
        DestinationType: 'ImageUploader',
        RequestMethod: 'POST',
        RequestURL: `${base}/api/upload`.replace(/[{}|\\]/g, '\\$&'),
        Headers: { Authorization: BEARER },
        Body: 'MultipartFormData',
        FileFormName: 'file',
        URL: '{json:data}',
        DeletionURL: '{header:X-Layover-Delete-Url}',
        ErrorMessage: '{json:message}',
      }),
    ],
  }
}
