import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { fixture } from '../support/images.ts'
import { type ServerProcess, startServer } from '../support/server.ts'
import { eventually } from '../support/socket.ts'

const root = join(import.meta.dirname, '../..')
const METRICS_ADDRESS = '127.0.0.1:0'
const IMAGES = '/uploads/:year/:month/:name'

async function metricsOf(server: ServerProcess): Promise<Map<string, number>> {
  const line =
    server
      .output()
      .split('\n')
      .find((line) => line.includes('"msg":"metrics"')) ?? '{}'
  const response = await fetch(JSON.parse(line).url)
  expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/)
  const text = await response.text()
  const samples = text.split('\n').filter((line) => line !== '' && !line.startsWith('# HELP'))
  return new Map(
    samples.map((line) => {
      if (line.startsWith('# TYPE ')) return [line.split(' ').slice(2).join(' '), 1]
      const end = line.lastIndexOf(' ')
      return [line.slice(0, end), Number(line.slice(end + 1))]
    }),
  )
}

/** A label set as the exposition has it. */
const named = (name: string, labels: Record<string, string>) =>
  `${name}{${Object.entries(labels)
    .map(([label, value]) => `${label}="${value}"`)
    .join(',')}}`

test('what clients do is counted, by names that are not theirs', async () => {
  await using server = await startServer({ env: { METRICS_ADDRESS, QUOTA: '300KB' } })
  const photo = fixture('photo.jpg')
  const { data } = (await (await server.upload('photo.jpg')).json()) as { data: string }
  expect((await server.upload('photo.jpg')).status).toBe(429)
  expect((await server.upload('photo.jpg', { key: 'sk-wrong-key-of-nobody' })).status).toBe(401)
  for (let i = 0; i < 3; i += 1) await (await fetch(data)).arrayBuffer()
  await fetch(`${server.url}/nothing/here?secret=1`, { headers: { 'x-name': 'stranger' } })
  await fetch(`${server.url}/api/upload`, { method: 'PROPFIND' })

  const upload = { route: '/api/upload' }
  const unknown = named('layover_requests_total', { route: 'none', method: 'other', status: '405' })
  await eventually(async () => (await metricsOf(server)).has(unknown))
  const metrics = await metricsOf(server)
  const count = (name: string, labels: Record<string, string>) => metrics.get(named(name, labels))
  expect(count('layover_uploads_total', { ...upload, format: 'jpeg', result: 'ok' })).toBe(1)
  expect(count('layover_uploads_total', { ...upload, format: 'none', result: 'quota_exceeded' })).toBe(1)
  expect(count('layover_problems_total', { ...upload, code: 'quota_exceeded' })).toBe(1)
  expect(count('layover_uploads_total', { ...upload, format: 'none', result: 'key_wrong' })).toBe(1)
  expect(count('layover_upload_bytes_total', upload)).toBe(photo.length)
  expect(count('layover_upload_duration_seconds_count', { ...upload, result: 'ok' })).toBe(1)
  expect(count('layover_image_duration_seconds_count', { result: 'ok' })).toBe(3)
  expect(count('layover_requests_total', { route: IMAGES, method: 'GET', status: '200' })).toBe(3)
  expect(count('layover_sent_bytes_total', { route: IMAGES })).toBeGreaterThan(3 * photo.length)
  expect(count('layover_sent_bytes_total', { route: IMAGES })).toBeLessThan(3 * photo.length + 6000)
  expect(count('layover_received_bytes_total', upload)).toBeGreaterThan(2 * photo.length)
  expect(count('layover_store_call_duration_seconds_count', { operation: 'put', result: 'ok' })).toBe(1)
  // The third came from memory.
  expect(count('layover_store_call_duration_seconds_count', { operation: 'open', result: 'ok' })).toBe(2)
  expect(count('layover_cache_reads_total', { result: 'hit' })).toBe(1)
  expect(count('layover_cache_reads_total', { result: 'miss' })).toBe(2)
  expect(metrics.get('layover_cache_bytes')).toBeGreaterThan(photo.length)
  expect(
    count('layover_usage_call_duration_seconds_count', { operation: 'reserve', result: 'refused' }),
  ).toBe(1)
  for (const kind of ['upload', 'download', 'other'])
    expect(count('layover_requests_in_flight', { kind })).toBe(0)
  for (const check of ['store', 'usage', 'space']) expect(count('layover_check_ok', { check })).toBe(1)
  const all = [...metrics.keys()].join('\n')
  expect(all).not.toMatch(/nothing|secret|stranger|PROPFIND|sk-/)
  expect(all).not.toContain(new URL(data).pathname.split('/').at(-1))
})

test('no request makes Node suspect a leak, with all that can watch it', async () => {
  await using server = await startServer({ env: { METRICS_ADDRESS, QUOTA: '300KB', RATE_LIMIT: '100/1m' } })
  const headers = { authorization: `Bearer ${server.key()}`, 'content-type': 'application/json' }
  const body = JSON.stringify({ url: 'http://127.0.0.1/x.png' })
  const answer = await fetch(`${server.url}/v1/files/uploads/url`, { method: 'POST', headers, body })
  expect(answer.status).toBe(403)
  await server.upload('photo.jpg')
  expect(server.output()).not.toContain('Warning')
})

test('an upload that is under way is in flight', async () => {
  await using server = await startServer({ env: { METRICS_ADDRESS } })
  const sending = new AbortController()
  const body = new ReadableStream({ start: (stream) => stream.enqueue(new Uint8Array(10)) })
  const sent = fetch(`${server.url}/api/upload`, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.key()}`, 'content-type': 'multipart/form-data; boundary=x' },
    body,
    duplex: 'half',
    signal: sending.signal,
  } as RequestInit).catch(() => {})
  const inFlight = async () => (await metricsOf(server)).get('layover_requests_in_flight{kind="upload"}')
  await eventually(async () => (await inFlight()) === 1)
  sending.abort()
  await sent
  await eventually(async () => (await inFlight()) === 0)
  const left = named('layover_uploads_total', {
    route: '/api/upload',
    format: 'none',
    result: 'upload_incomplete',
  })
  expect((await metricsOf(server)).get(left)).toBe(1)
})

test('what is swept is counted', async () => {
  await using server = await startServer({ env: { METRICS_ADDRESS, SWEEP_INTERVAL: '1s' } })
  expect((await server.upload('photo.png', { fields: { expires_in: '1' } })).status).toBe(200)
  await eventually(async () => (await metricsOf(server)).get('layover_swept_images_total') === 1)
  const metrics = await metricsOf(server)
  expect(metrics.get('layover_swept_bytes_total')).toBe(fixture('photo.png').length)
  expect(metrics.get('layover_sweeps_total{result="ok"}')).toBeGreaterThan(0)
  expect(metrics.get('layover_sweep_lag_seconds')).toBeLessThan(10)
})

test('the dashboard and the alerts name only what is exported', async () => {
  await using server = await startServer({ env: { METRICS_ADDRESS } })
  await eventually(async () => (await metricsOf(server)).has('layover_sweep_lag_seconds gauge'))
  const exported = [...(await metricsOf(server)).keys()].flatMap((line) => {
    const [name = '', type, ...more] = line.split(' ')
    if (more.length > 0 || !['counter', 'gauge', 'histogram'].includes(type ?? '')) return []
    return type === 'histogram' ? ['_bucket', '_sum', '_count'].map((part) => name + part) : [name]
  })
  const dashboard = readFileSync(join(root, 'docs/grafana-dashboard.json'), 'utf8')
  const alerts = readFileSync(join(root, 'docs/alerts.yml'), 'utf8')
  const expressions = [
    ...[...dashboard.matchAll(/"(?:expr|query)": "(.*)"/g)].map(([, text = '']) => text),
    ...[...alerts.matchAll(/expr: (.*(?:\n {10,}.*)*)/g)].map(([, text = '']) => text),
  ]
  expect(expressions.length).toBeGreaterThan(30)
  const used = expressions.flatMap((text) => text.match(/\b(layover|process|nodejs)_\w+/g) ?? [])
  expect(used.length).toBeGreaterThan(40)
  expect([...new Set(used)].filter((name) => !exported.includes(name))).toEqual([])
  // And nothing of ours is measured that nobody is shown.
  const shown = (name: string) => used.some((other) => other.replace(/_(bucket|sum|count)$/, '') === name)
  const own = exported
    .map((name) => name.replace(/_(bucket|sum|count)$/, ''))
    .filter((name) => name.startsWith('layover_'))
  expect([...new Set(own)].filter((name) => !shown(name))).toEqual([])
})

test('nobody finds metrics at the public address, nor anything but metrics at theirs', async () => {
  await using server = await startServer({ env: { METRICS_ADDRESS } })
  expect((await fetch(`${server.url}/metrics`)).status).toBe(404)
  const { url } = JSON.parse(
    server
      .output()
      .split('\n')
      .find((line) => line.includes('"msg":"metrics"')) ?? '{}',
  )
  expect(new URL(url).hostname).toBe('127.0.0.1')
  expect((await fetch(new URL('/healthz', url))).status).toBe(404)
  expect((await fetch(url, { method: 'POST' })).status).toBe(404)
  await using without = await startServer()
  expect(without.output()).not.toContain('"msg":"metrics"')
})

test('an address that is taken ends the start with the variable to change', async () => {
  const holder = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => holder.once('listening', resolve))
  const { port } = holder.address() as AddressInfo
  const starting = startServer({ env: { METRICS_ADDRESS: `127.0.0.1:${port}` } })
  await expect(starting).rejects.toThrow(/METRICS_ADDRESS: .*EADDRINUSE/)
  holder.close()
})
