/** A colour profile for grey whose numbers are amounts of light (gamma 1): the smallest that a colour engine takes. */
export function greyProfile(): Buffer {
  const tags = [
    ['desc', Buffer.concat([Buffer.from('desc\0\0\0\0\0\0\0\x05grey\0'), Buffer.alloc(79)])],
    ['wtpt', Buffer.concat([Buffer.from('XYZ \0\0\0\0'), numbers(0xf6d6, 0x10000, 0xd32d)])],
    ['kTRC', Buffer.from('curv\0\0\0\0\0\0\0\x01\x01\0\0\0')],
    ['cprt', Buffer.from('text\0\0\0\0none\0\0\0\0')],
  ] as const
  let at = 128 + 4 + 12 * tags.length
  const table = tags.map(([name, { length }]) => {
    at += length
    return Buffer.concat([Buffer.from(name), numbers(at - length, length)])
  })
  const header = Buffer.alloc(128)
  header.writeUInt32BE(at, 0)
  header.writeUInt32BE(0x02400000, 8)
  header.write('mntrGRAYXYZ ', 12)
  header.write('acsp', 36)
  numbers(0xf6d6, 0x10000, 0xd32d).copy(header, 68)
  return Buffer.concat([header, numbers(tags.length), ...table, ...tags.map(([, content]) => content)])
}

function numbers(...values: number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length)
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value, 4 * index)
  return bytes
}
