/** Images that are whole and small to look at, but whose headers are made of very many pieces. */

/** A JPEG of 1 × 1 with so many fill bytes before its first segment. */
export function fillBytesJpeg(count: number): Buffer {
  const rest = 'ffe000104a46494600010100000100010000ffc0000b080001000101011100ffda0008010100003f00d2cf20ffd9'
  return Buffer.concat([
    Buffer.from('ffd8', 'hex'),
    Buffer.alloc(count, 0xff),
    Buffer.from(rest.slice(2), 'hex'),
  ])
}

/**
 * A GIF of 1 × 1 with an extension of so many bytes in sub-blocks of 48, which its reader has to
 * walk along.
 */
export function smallBlocksGif(bytes: number): Buffer {
  const block = Buffer.concat([Buffer.from([47]), Buffer.alloc(47, 'A')])
  return Buffer.concat([
    Buffer.from('47494638396101000100000000' + '21ff', 'hex'),
    Buffer.alloc(bytes - (bytes % block.length), block),
    Buffer.from('00' + '2c00000000010001000002024401003b', 'hex'),
  ])
}
