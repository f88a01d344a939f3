import { createRequire } from 'node:module'
import { join } from 'node:path'

/** What the tests use of the library that makes copies. It has no types here, as it need not be installed. */
export interface Picture {
  withExif(exif: object): Picture
  withIccProfile(profile: string): Picture
  withMetadata(options?: object): Picture
  keepIccProfile(): Picture
  toColourspace(space: string): Picture
  resize(width: number, height: number): Picture
  composite(images: object[]): Picture
  removeAlpha(): Picture
  jpeg(options?: object): Picture
  png(options?: object): Picture
  webp(options?: object): Picture
  gif(options?: object): Picture
  raw(): Picture
  toBuffer(): Promise<Buffer>
  metadata(): Promise<{
    readonly format: string
    readonly width: number
    readonly height: number
    readonly pages?: number
    readonly orientation?: number
    readonly hasAlpha: boolean
    readonly space: string
    readonly icc?: Buffer
    readonly exif?: Buffer
    readonly xmp?: Buffer
  }>
}

type Sharp = (input: Buffer | object, options?: object) => Picture

const require = createRequire(join(import.meta.dirname, '../../fit/package.json'))

/** The library, as `npm run fit:install` puts it there. If it is not, says so for all to see, and throws with REQUIRE_FIT. */
export function installedSharp(): Sharp | undefined {
  try {
    return require('sharp') as Sharp
  } catch (cause) {
    if (process.env.REQUIRE_FIT) throw new Error('REQUIRE_FIT needs: npm run fit:install', { cause })
    console.warn('\n*** COPIES ARE NOT TESTED WITH A DECODER: npm run fit:install has not been run. ***\n')
    return undefined
  }
}

/** What the tests make pictures with, and look at copies through. To be used only where the library is installed. */
export function picturesOf(sharp: Sharp | undefined) {
  const decode: Sharp = (...input) => (sharp as Sharp)(...input)
  return {
    decode: (bytes: Buffer) => decode(bytes),

    /** Of one colour. */
    paint: (width: number, height: number, background: string, channels = 3) =>
      decode({ create: { width, height, channels, background } }),

    /** That no format makes small. */
    noise(side: number, channels = 3) {
      const noise = { type: 'gaussian', mean: 128, sigma: 60 }
      return decode({ create: { width: side, height: side, channels, background: '#000', noise } })
    },
  }
}
