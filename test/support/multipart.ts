const BOUNDARY = '----layover-test-boundary'

export interface Part {
  readonly name: string
  readonly content: Buffer | string
  /** None makes it a field. */
  readonly filename?: string
  readonly type?: string
}

/** A multipart body, as bytes, with the Content-Type that goes with it. */
export function multipartBody(parts: readonly Part[]): { body: Buffer; contentType: string } {
  const pieces = parts.flatMap(({ name, content, filename, type }) => [
    Buffer.from(
      `--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"` +
        (filename === undefined ? '' : `; filename="${filename}"`) +
        (type === undefined ? '' : `\r\nContent-Type: ${type}`) +
        '\r\n\r\n',
    ),
    Buffer.from(content),
    Buffer.from('\r\n'),
  ])
  const body = Buffer.concat([...pieces, Buffer.from(`--${BOUNDARY}--\r\n`)])
  return { body, contentType: `multipart/form-data; boundary=${BOUNDARY}` }
}

/** The form of one upload. */
export function uploadOf(content: Buffer, filename = 'photo.png'): { body: Buffer; contentType: string } {
  return multipartBody([{ name: 'file', content, filename, type: 'application/octet-stream' }])
}
