import { createHash } from 'node:crypto'
import { BEARER, type Client, jsonFile, type ServerFacts } from './client.ts'

/** What uPic calls a host of the user's own, in `HostType.swift`. */
const CUSTOM = -1

/**
 * uPic 0.21 (`ConfigManager.importHosts`, `Host.deserialize`, `CustomHostConfig.deserialize`): a list of hosts, each as JSON in a string, with its
 * settings as JSON in a string again, and their headers once more.
 */
export function upic({ base }: ServerFacts): Client {
  const data = {
    url: `${base}/api/upload`,
    method: 'POST',
    field: 'file',
    bodys: '[]',
    headers: JSON.stringify([{ key: 'Authorization', value: BEARER }]),
    resultPath: '["data"]',
    domain: '',
    saveKeyPath: '',
    suffix: '',
  }
  // A host with a number that uPic has already is left out at a merge, so that two servers must not share one.
  const id = createHash('sha256').update(base).digest().readUInt32BE()
  const host = { id, name: `Layover (${new URL(base).host})`, type: CUSTOM, data: JSON.stringify(data) }
  return {
    id: 'upic',
    name: 'uPic',
    platforms: 'macOS',
    about: {
      en: 'Uploads from the menu bar, the Finder and by drag and drop.',
      zh: '从菜单栏、访达或拖拽上传。',
    },
    steps: [
      {
        en: 'Download `layover-upic.json`. In uPic’s menu: Host → Import hosts, and choose it; then merge.',
        zh: '下载 `layover-upic.json`。在 uPic 菜单中选择“图床”→“导入图床配置”，选中该文件，再选“合并”。',
      },
      {
        en: 'Or by hand, Preferences → Hosts → + → Custom: the API URL, `POST`, File Field `file`, the header `Authorization` and URL Path `["data"]`.',
        zh: '或手动设置：偏好设置 → 图床 → + → 自定义：填写 API 地址、`POST`、文件字段名 `file`、请求头 `Authorization` 和 URL 路径 `["data"]`。',
      },
      {
        en: 'Choose Layover as the host in the menu.',
        zh: '在菜单中把图床切换为 Layover。',
      },
    ],
    files: [jsonFile('layover-upic.json', [JSON.stringify(host)])],
  }
}
