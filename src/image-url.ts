import type { Config } from './config.ts'
import { type ImageName, imagePath } from './name.ts'

/** Where the world finds an image: below `base`, the server's public address, or in the bucket where that is public. */
export function imageUrl(
  name: ImageName,
  base: string,
  { s3PublicUrl, s3, uploadPath }: Pick<Config, 's3PublicUrl' | 's3' | 'uploadPath'>,
): string {
  return s3PublicUrl === undefined
    ? `${base}${uploadPath}/${imagePath(name)}`
    : `${s3PublicUrl}/${s3.prefix}${name.text}`
}
