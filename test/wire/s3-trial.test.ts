import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { expect, test } from 'vitest'
import { openSigner } from '../../src/store/s3/signer.ts'

/** What the trial of a link at the start makes of servers that answer as none should. */
test.each([
  {
    what: 'sends more than it says',
    answer: 'HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\nConnection: close\r\n\r\nmore than five',
    message: /^S3_PRESIGN_ACCESS_KEY_ID: .* \(403\)/,
  },
  {
    what: 'sends chunks of no size',
    answer: 'HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
    message: /^S3_PRESIGN_ACCESS_KEY_ID: .* \(403\)/,
  },
  {
    what: 'leads elsewhere',
    answer:
      'HTTP/1.1 307 Temporary Redirect\r\nLocation: /there\r\nContent-Length: 0\r\nConnection: close\r\n\r\n',
    message: /^S3_PRESIGN_ACCESS_KEY_ID: .* \(307\)/,
  },
])('a start ends with what to look at when the store $what', async ({ answer, message }) => {
  const server = createServer((socket) => {
    socket.on('error', () => {}).once('data', () => socket.write(answer))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const credentials = { accessKeyId: 'layover', secretAccessKey: 'made up' }
    const connection = { endpoint, credentials, region: 'us-east-1', forcePathStyle: true }
    const onNote = () => {}
    const start = openSigner({ ...connection, bucket: 'images', prefix: 'incoming/', timeout: 3, onNote })
    await expect(start).rejects.toThrow(message)
  } finally {
    server.close()
  }
})
