import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fixture, pathOfFixture, tinyPng } from '../support/images.ts'
import { type Origin, startOrigin } from '../support/remote.ts'
import { type ServerProcess, startServer } from '../support/server.ts'
import { type TempFolder, tempFolder } from '../support/temp-folder.ts'

const run = promisify(execFile)
const root = join(import.meta.dirname, '../..')
const hasWget = await run('wget', ['--version']).then(
  () => true,
  () => false,
)
if (process.env.CI && !hasWget) throw new Error('CI must have wget')

let server: ServerProcess
let origin: Origin
let folder: TempFolder
beforeAll(async () => {
  folder = await tempFolder()
  for (const name of ['photo.jpg', 'photo.png']) await copyFile(pathOfFixture(name), join(folder.path, name))
  await writeFile(join(folder.path, 'notes.txt'), 'no image')
  origin = await startOrigin((_request, response) => response.end(tinyPng))
  server = await startServer({
    env: {
      ...{ LOG_LEVEL: 'trace', ADAPTERS: 'all', MAX_LIFETIME: '7d', MIN_FREE_SPACE: '0' },
      URL_FETCH_ALLOW: `127.0.0.1:${origin.port}`,
    },
  })
})
afterAll(async () => {
  const output = server.output().replace(/curl -H .*|^ +sk-layover-.*/gm, '')
  await server[Symbol.asyncDispose]()
  await origin[Symbol.asyncDispose]()
  await folder[Symbol.asyncDispose]()
  // In headers, passwords and addresses, at the most talkative level; nor any file's name.
  expect(output).not.toMatch(/sk-layover-|photo\.(jpg|png)/)
  expect(output).not.toContain(Buffer.from(`:${server.key()}`).toString('base64').slice(4, -4))
})

/** Runs a line as a shell does, in a folder with the images. */
async function shell(line: string): Promise<string> {
  const env = {
    PATH: process.env.PATH,
    HOME: folder.path,
    KEY: server.key(),
    key: server.key(),
    HOST: server.url,
  }
  const { stdout } = await run('bash', ['-ec', line], { cwd: folder.path, env })
  return stdout
}

/** What is at a URL, and that it is what was uploaded. */
async function expectImage(url: unknown, file = 'photo.jpg'): Promise<Response> {
  expect(url).toMatch(/^http:\/\/localhost:\d+\/uploads\/\d{4}\/\d{2}\/[0-9a-z]{53}\.(jpg|png)$/)
  const answer = await fetch(String(url))
  expect(Buffer.from(await answer.arrayBuffer()).equals(file === 'tiny' ? tinyPng : fixture(file))).toBe(true)
  return answer
}

/** Seconds that an image has left. */
const secondsLeft = ({ headers }: Response) =>
  Number(/max-age=(\d+)/.exec(headers.get('cache-control') ?? '')?.[1])

/** As each project's own documentation has it, but for host, key and names of files. */
describe('Chevereto', () => {
  const example = `curl -s --fail-with-body -X POST \\
    -H "X-API-Key: $key" \\
    -H "Content-Type: multipart/form-data" \\
    -F "source=@photo.jpg" \\
    $HOST/api/1/upload`

  test('its documented call is answered with the members of its documented example', async () => {
    const answer = JSON.parse(await shell(example))
    expect(answer).toMatchObject({
      status_code: 200,
      success: { message: 'file uploaded', code: 200 },
      status_txt: 'OK',
    })
    const { image } = answer
    await expectImage(image.url)
    const photo = fixture('photo.jpg')
    expect(image).toMatchObject({
      ...{ extension: 'jpg', mime: 'image/jpeg', size: photo.length, type: 'image', is_animated: 0 },
      md5: createHash('md5').update(photo).digest('hex'),
      date_gmt: expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/),
      expiration_date_gmt: expect.stringMatching(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/),
      ratio: image.width / image.height,
      ...{
        display_url: image.url,
        thumb: { url: image.url },
        image: { url: image.url },
        medium: { url: image.url },
      },
    })
    expect((await fetch(image.delete_url, { method: 'DELETE' })).status).toBe(200)
    expect((await fetch(image.url)).status).toBe(404)
  })

  test.each([
    ['-F expiration=PT5M', 300],
    ['-F expiration=P3D', 3 * 86_400],
  ])('%s', async (option, seconds) => {
    const { image } = JSON.parse(await shell(example.replace('-F', `${option} -F`)))
    const left = secondsLeft(await expectImage(image.url))
    expect(left).toBeLessThanOrEqual(seconds)
    expect(left).toBeGreaterThan(seconds - 60)
  })

  test('format=txt answers with the URL alone, and the key may be in the address', async () => {
    await expectImage(await shell('curl -s -F source=@photo.jpg "$HOST/api/1/upload?key=$key&format=txt"'))
  })

  test('the source may be a URL', async () => {
    const source = `http://127.0.0.1:${origin.port}/x.png`
    const { image } = JSON.parse(
      await shell(`curl -s -H "X-API-Key: $key" -F source=${source} $HOST/api/1/upload`),
    )
    await expectImage(image.url, 'tiny')
  })

  test('an error is told as it tells errors', async () => {
    const line = 'curl -s -H "X-API-Key: $key" -F source=@notes.txt $HOST/api/1/upload'
    expect(JSON.parse(await shell(line))).toEqual({
      status_code: 415,
      error: { message: expect.stringContaining('not a JPEG'), code: 415, context: 'format_unsupported' },
      status_txt: 'Unsupported Media Type',
    })
  })
})

describe('Lsky Pro', () => {
  test('a call as documented is answered with the documented members', async () => {
    const line =
      'curl -s -X POST -H "Authorization: Bearer $KEY" -H "Accept: application/json" -F file=@photo.png $HOST/api/v1/upload'
    const { data, ...rest } = JSON.parse(await shell(line))
    expect(rest).toEqual({ status: true, message: expect.any(String) })
    const photo = fixture('photo.png')
    const { url } = data.links
    await expectImage(url, 'photo.png')
    const name = url.split('/').at(-1)
    expect(data).toEqual({
      key: `file_${name.split('.')[0]}`,
      ...{ name, origin_name: name, extension: 'png', mimetype: 'image/png', size: photo.length / 1024 },
      pathname: url.split('/uploads/')[1],
      md5: createHash('md5').update(photo).digest('hex'),
      sha1: createHash('sha1').update(photo).digest('hex'),
      links: {
        ...{ url, thumbnail_url: url, delete_url: expect.stringContaining('/delete/') },
        html: `<img src="${url}" alt="${name}" title="${name}" />`,
        bbcode: `[img]${url}[/img]`,
        markdown: `![${name}](${url})`,
        markdown_with_link: `[![${name}](${url})](${url})`,
      },
    })
  })

  test('an error is told as it tells errors', async () => {
    const line = 'curl -s -H "Authorization: Bearer wrong" -F file=@photo.png $HOST/api/v1/upload'
    expect(JSON.parse(await shell(line))).toEqual({
      status: false,
      message: expect.stringContaining('key'),
      data: {},
    })
  })
})

describe('PicGo and PicList', () => {
  test('the documented form, with the key in the address, is answered with a list of URLs', async () => {
    const line = 'curl -s -X POST -F "image=@photo.jpg" "$HOST/upload?key=$KEY"'
    const answer = JSON.parse(await shell(line))
    expect(answer).toEqual({ success: true, result: [expect.any(String)] })
    await expectImage(answer.result[0])
  })

  test('several files have their URLs in the same order', async () => {
    const line =
      'curl -s -H "Authorization: Bearer $KEY" -F files=@photo.png -F files=@photo.jpg "$HOST/upload?picbed=x&configName=y"'
    const { success, result } = JSON.parse(await shell(line))
    expect([success, result.length]).toEqual([true, 2])
    await expectImage(result[0], 'photo.png')
    await expectImage(result[1], 'photo.jpg')
  })

  test('paths are refused, and nothing is opened', async () => {
    const line = `curl -s -w '%{http_code}' -H 'Content-Type: application/json' -d '{"list":["/etc/hostname"]}' "$HOST/upload?key=$KEY"`
    expect(await shell(line)).toMatch(
      /^\{"success":false,"result":\[\],"message":"This server opens no files.*\}415$/,
    )
  })
})

describe('0x0', () => {
  test.each([
    ["curl -s -F'file=@photo.jpg' -u :$KEY $HOST", 72 * 3600],
    ["curl -s -F'file=@photo.jpg' -Fsecret= -u :$KEY $HOST", 72 * 3600],
    ["curl -s -F'file=@photo.jpg' -Fexpires=24 -u :$KEY $HOST", 24 * 3600],
    ["curl -s -F'file=@photo.jpg' -Fexpires=$(($(date +%s) + 7200))000 -u anybody:$KEY $HOST", 7200],
  ])('%s', async (line, seconds) => {
    const answer = await shell(line)
    expect(answer).toMatch(/^\S+\n$/)
    const left = secondsLeft(await expectImage(answer.trim()))
    expect(left).toBeLessThanOrEqual(seconds + 1)
    expect(left).toBeGreaterThan(seconds - 60)
  })

  test('a remote URL is fetched', async () => {
    const line = `curl -s -F'url=http://127.0.0.1:${origin.port}/image.jpg' -u :$KEY $HOST`
    await expectImage((await shell(line)).trim(), 'tiny')
  })

  test('X-Expires is when the image ends', async () => {
    const answer = await shell('curl -si -F file=@photo.jpg -Fexpires=1 -u :$KEY $HOST')
    const [, expires] = /^x-expires: (\d+)\r$/im.exec(answer) ?? []
    const [, at = ''] = /^x-layover-expires-at: (.*)\r$/im.exec(answer) ?? []
    expect(Number(expires)).toBe(Date.parse(at))
  })
})

describe('transfer.sh', () => {
  test('the documented upload is answered with the URL, and X-Url-Delete deletes', async () => {
    const line = 'curl -sD head --upload-file ./photo.jpg $HOST/photo.jpg -H "Max-Days: 1" -u :$KEY'
    const url = await shell(line)
    const left = secondsLeft(await expectImage(url))
    expect(left).toBeLessThanOrEqual(86_400)
    expect(left).toBeGreaterThan(86_400 - 60)
    await shell(`curl -sf -X DELETE "$(sed -n 's/^x-url-delete: \\(.*\\)\\r$/\\1/Ip' head)"`)
    expect((await fetch(url)).status).toBe(404)
  })

  test.each([
    'cat photo.jpg | curl -s --upload-file - $HOST/photo.jpg -u :$KEY',
    'cat photo.jpg | curl -s -X PUT --upload-file "-" $HOST/test.txt -u :$KEY',
    'curl -s -T photo.jpg $HOST -u :$KEY',
    'curl -s -T photo.jpg $HOST/ -H "Authorization: Bearer $KEY"',
    `curl -s -T photo.jpg $HOST/$(printf 'x%.0s' {1..120})%E5%9B%BE.jpg -u :$KEY`,
  ])('%s', async (line) => void (await expectImage(await shell(line))))

  test.skipIf(!hasWget)('wget, which sends a password only when it is asked for one', async () => {
    const line =
      'wget -t 1 -qO - --user=x --password="$KEY" --method=PUT --body-file=photo.jpg $HOST/photo.jpg'
    await expectImage(await shell(line))
  })

  test('several files at once are answered with a line each', async () => {
    const answer = await shell('curl -s -F filedata=@photo.jpg -F filedata=@photo.png $HOST/ -u :$KEY')
    const [first, second, ...rest] = answer.split('\n')
    expect(rest).toEqual([''])
    await expectImage(first, 'photo.jpg')
    await expectImage(second, 'photo.png')
  })

  test.each(['Max-Downloads: 1', 'X-Encrypt-Password: test'])('%s is refused', async (header) => {
    const before = (await server.files()).length
    const line = `curl -s -w '%{http_code}' -T photo.jpg $HOST/photo.jpg -H "${header}" -u :$KEY`
    expect(await shell(line)).toMatch(/^This server cannot do .*\n400$/)
    expect(await server.files()).toHaveLength(before)
  })
})

test('every command of docs/adapters.md works as it is written', async () => {
  const page = await readFile(join(root, 'docs/adapters.md'), 'utf8')
  const lines = [...page.matchAll(/^```sh[^\n]*\n(.*?)^```$/gms)].flatMap(([, block = '']) =>
    block.trim().split('\n'),
  )
  expect(lines.length).toBeGreaterThanOrEqual(6)
  for (const line of lines) {
    const answer = await shell(
      line.replace('curl', 'curl -s --fail-with-body').replaceAll('http://localhost:8080', server.url),
    )
    await expectImage(/http:\/\/[^"\s]+\/uploads\/[^"\s]+/.exec(answer.replaceAll('\\/', '/'))?.[0])
  }
})
