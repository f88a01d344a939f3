import { expect, test } from 'vitest'
import { firstKeyNotice, unreachableBecause } from '../../src/welcome.ts'

test.each([
  'http://localhost:8080',
  'https://localhost',
  'https://images.localhost',
  'http://127.0.0.1:8080',
  'http://127.1',
  'http://2130706433',
  'http://0.0.0.0:8080',
  'https://10.1.2.3',
  'https://172.16.0.1',
  'https://192.168.1.20',
  'https://169.254.1.1',
  'https://100.64.0.1',
  'https://[::]',
  'https://[::1]:8080',
  'https://[::ffff:127.0.0.1]',
  'https://[fe80::1]',
  'https://[fd12:3456::1]',
  'https://nas',
  'https://NAS.LOCAL',
  'https://images.internal',
  'https://nas.lan',
  'https://nas.home.arpa',
  'https://images.test',
])('%s is known to be out of reach of any model', (address) => {
  expect(unreachableBecause(address)).toMatch(/only this machine|not a public (address|name)/)
})

test.each([
  'https://images.example.com',
  'https://images.example.com:8443/base',
  'https://localhost.example.com',
  'https://test.example.com',
  'https://8.8.8.8',
  'https://172.32.0.1',
  'https://[2606:4700:4700::1111]',
  'https://[::ffff:8.8.8.8]',
])('%s is thought to be reachable', (address) => {
  expect(unreachableBecause(address)).toBeUndefined()
})

test('a public name without TLS gets its own warning', () => {
  expect(unreachableBecause('http://images.example.com')).toMatch(/https/)
})

test('the first start shows the address, and the key once alone and once in a line to paste', () => {
  const key = 'sk-layover-abc'
  const lines = firstKeyNotice(key, { dataDir: './data', page: 'on' }, 'https://images.example.com').split(
    '\n',
  )

  const withKey = lines.filter((line) => line.includes(key)).map((line) => line.trim())
  expect(withKey).toEqual([
    key,
    `curl -H "Authorization: Bearer ${key}" -F file=@photo.jpg https://images.example.com/api/upload`,
  ])
  expect(lines.join('\n')).toContain('running at https://images.example.com')
  expect(lines.join('\n')).toContain('./data/keys.json')
  expect(lines.join('\n')).toContain('in a browser, at https://images.example.com/,')
})

test('a first start that fails shows the key and no address, as another program may be there', () => {
  const notice = firstKeyNotice('sk-layover-abc', { dataDir: './data', page: 'on' })
  expect(notice).toContain('sk-layover-abc')
  expect(notice).not.toMatch(/http|curl/)
})
