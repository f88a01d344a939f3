import { BEARER, type Client, KEY, type ServerFacts, textFile } from './client.ts'

/** Apple’s Shortcuts as of iOS 17. A shortcut that is a file must be signed by Apple, so this one is put together by hand. */
export function iosShortcut({ base }: ServerFacts): Client {
  return {
    id: 'ios',
    name: 'iOS Shortcut',
    platforms: 'iOS, iPadOS, macOS',
    about: {
      en: 'Uploads from the share sheet. It takes two minutes to put together.',
      zh: '从分享菜单上传，两分钟即可做好。',
    },
    steps: [
      {
        en: 'Shortcuts → +. In its details (ⓘ): Show in Share Sheet; it receives Images.',
        zh: '快捷指令 → +。在详情（ⓘ）中打开“在共享表单中显示”，接收“图像”。',
      },
      {
        en: 'Add “Convert Image”: Shortcut Input to JPEG, as iPhones take photos as HEIC.',
        zh: '添加“转换图像”：把“快捷指令输入”转换为 JPEG（iPhone 照片为 HEIC 格式）。',
      },
      {
        en: `Add “Get Contents of URL”: \`${base}/api/upload\`. Show more: Method \`POST\`; Headers: \`Authorization\` is \`Bearer ${KEY}\`; Request Body: Form, with a new field of type File, Key \`file\`, and the Converted Image.`,
        zh: `添加“获取 URL 内容”：\`${base}/api/upload\`。展开：方法 \`POST\`；头部：\`Authorization\` 为 \`Bearer ${KEY}\`；请求体：表单，新增“文件”字段，键为 \`file\`，值为“转换后的图像”。`,
      },
      {
        en: 'Add “Get Dictionary Value”: Value for `data` in Contents of URL. Then “Copy to Clipboard”. (Value for `message` says what is wrong if there is no `data`.)',
        zh: '添加“获取词典值”：取“URL 的内容”中 `data` 的值，再添加“拷贝至剪贴板”。（没有 `data` 时，`message` 会说明原因。）',
      },
    ],
    files: [textFile('values.txt', `${base}/api/upload\nAuthorization\n${BEARER}\nfile\ndata\n`)],
  }
}
