/** Every error a client can see: a stable code, an HTTP status, and what is wrong and what to do about it. */
export const ERRORS = {
  key_missing: entry(
    401,
    (detail?: { places: string[] }) =>
      `No key came with the request. Send ${orList(['the header "Authorization: Bearer <key>"', ...(detail?.places ?? [])])}.` +
      (detail?.places.length ? ' A field of a form is not looked at, as it comes with the files.' : ''),
  ),
  key_wrong: entry(401, (detail?: { places: string[] }) =>
    detail?.places.length
      ? `This key is not known here. Check ${orList(['the value after "Authorization: Bearer"', ...detail.places])}.`
      : 'This key is not known here. Check the value after "Authorization: Bearer".',
  ),
  key_expired: entry(
    401,
    (detail: { expires: string }) => `This key expired at ${detail.expires}. Ask for a new one.`,
  ),
  auth_unavailable: entry(503, () => 'Whether this key is good cannot be found out now. Try again shortly.'),
  not_found: entry(404, () => 'There is nothing at this address. Images are uploaded with POST /api/upload.'),
  method_not_allowed: entry(
    405,
    (detail: { allow: string }) => `This address takes ${detail.allow} and no other method.`,
  ),
  image_not_found: entry(
    404,
    () => 'There is no image at this address: it was never here or has been deleted.',
  ),
  image_expired: entry(
    410,
    (detail: { expires: string }) =>
      `This image expired at ${detail.expires}. Upload it again for a new URL.`,
  ),
  presign_off: entry(
    403,
    () =>
      'This server gives out no links to upload to (PRESIGN_LIFETIME=0). Send the image itself, as a form.',
  ),
  upload_link_wrong: entry(
    403,
    () => 'This link takes no upload: it is not whole, or was not made by this server.',
  ),
  upload_link_expired: entry(
    403,
    () => 'This link has expired. Ask for a new one with POST /v1/files/uploads/presign.',
  ),
  upload_mismatch: entry(
    403,
    (detail: { size: number; type: string }) =>
      `This link takes exactly ${detail.size} bytes of ${detail.type}, ` +
      'with Content-Length and Content-Type saying so, and without Transfer-Encoding.',
  ),
  upload_done: entry(
    409,
    () => 'This link has been used, and what was sent then stays. Ask for a new one for another image.',
  ),
  upload_missing: entry(
    404,
    () => 'Nothing has been sent to upload_url yet, or it did not arrive. Send the image there with PUT.',
  ),
  delete_link_wrong: entry(
    404,
    () => 'This link deletes nothing: it is not whole, or was not made by this server.',
  ),
  range_not_satisfiable: entry(
    416,
    (detail: { size: number }) => `The range lies outside the image, which has ${detail.size} bytes.`,
  ),
  precondition_failed: entry(
    412,
    () => 'The image is not the one that If-Match or If-Unmodified-Since asks for.',
  ),
  multipart_expected: entry(
    415,
    (detail?: { part: string }) =>
      `Send the image as multipart/form-data in a part named "${detail?.part ?? 'file'}", for example with ` +
      `curl -F ${detail?.part ?? 'file'}=@photo.png. ` +
      'Do not set Content-Type yourself: the client adds it with the boundary.',
  ),
  json_expected: entry(
    415,
    (detail: { example: string }) =>
      `Send a JSON object with Content-Type: application/json, like ${detail.example}.`,
  ),
  json_malformed: entry(
    400,
    (detail: { example: string }) => `The body is not a whole JSON object. Send one like ${detail.example}.`,
  ),
  member_invalid: entry(
    400,
    (detail: { member: string; wanted: string }) => `The member "${detail.member}" must be ${detail.wanted}.`,
  ),
  data_missing: entry(
    400,
    () =>
      'The member "data" is missing or no text. Put the image there, in base64 or as a data: URL with ";base64,".',
  ),
  base64_invalid: entry(
    400,
    () =>
      'The member "data" is not base64: it takes A–Z, a–z, 0–9, "+" and "/", padded with "=" to a multiple of four, ' +
      'without spaces or line breaks.',
  ),
  multipart_malformed: entry(400, ({ twice }: { twice?: string } = {}) =>
    twice === undefined
      ? 'The multipart body is malformed or incomplete: its boundary, a part, or its end is missing. ' +
        'Let the client set Content-Type, and send the whole body.'
      : `A part of the form has more than one "${twice}". Send one.`,
  ),
  file_missing: entry(400, ({ found, part = 'file' }: { found: string[]; part?: string }) =>
    found.includes(part)
      ? `The part named "${part}" is text, as it has no file name. With curl, write -F ${part}=@photo.png, with the @.`
      : `No part named "${part}" came${found.length > 0 ? ` (found: ${found.join(', ')})` : ''}. ` +
        `Send the image in one, for example with curl -F ${part}=@photo.png.`,
  ),
  too_many_files: entry(400, ({ limit, part = 'file' }: { limit: number; part?: string }) =>
    limit === 1
      ? `More than one file came. Send one image a request, in one part named "${part}".`
      : `More than ${limit} files came. Send at most that many in one request.`,
  ),
  fields_refused: entry(
    400,
    () =>
      'The form has too many fields, or one with a reserved name. Send the file, and expires_in if you need it.',
  ),
  file_empty: entry(400, () => 'The file is empty. Send the bytes of an image.'),
  file_too_large: entry(
    413,
    (detail: { limit: number }) => `The file is too large: at most ${detail.limit} bytes are taken.`,
  ),
  body_too_large: entry(
    413,
    () => 'The request body is too large. Send one image, and only the fields it needs.',
  ),
  format_unsupported: entry(
    415,
    () => 'The bytes are not a JPEG, PNG, GIF or WebP image. The name and the declared type do not count.',
  ),
  image_invalid: entry(
    422,
    (detail: { format: string; reason: string }) =>
      `The file begins as ${detail.format.toUpperCase()} but is damaged: ${detail.reason}.`,
  ),
  image_dimensions: entry(
    422,
    (detail: { width: number; height: number; limit: number }) =>
      `The image measures ${detail.width} × ${detail.height} pixels. ` +
      `Each side must be at least 1, and both together at most ${detail.limit} pixels.`,
  ),
  url_invalid: entry(
    400,
    (detail: { reason: string }) =>
      `The member "url" cannot be used: ${detail.reason}. Give an address like https://example.com/photo.jpg.`,
  ),
  url_of_this_server: entry(
    400,
    () => 'The URL leads to this server: the image is already here. Use its URL as it is.',
  ),
  url_fetch_off: entry(
    403,
    () => 'This server fetches nothing from elsewhere. Download the image and upload it.',
  ),
  url_forbidden_address: entry(
    403,
    () =>
      'The URL leads to an address that this server does not fetch from: only public ones are. ' +
      'Upload the image itself, or have the operator allow its host.',
  ),
  url_unresolvable: entry(
    422,
    () => 'The host in the URL has no address. Check its spelling, and try again later if it is right.',
  ),
  url_unreachable: entry(
    422,
    (detail: { reason: string }) =>
      `The host in the URL cannot be reached: ${detail.reason}. Check the URL, or upload the image itself.`,
  ),
  url_timeout: entry(
    422,
    () =>
      'The host in the URL took too long to answer or to send the image. Try again, or upload it yourself.',
  ),
  url_http_error: entry(
    422,
    (detail: { status: number }) =>
      `The host in the URL answered with status ${detail.status} instead of 200. Use a URL that needs no login, ` +
      'cookie or Referer.',
  ),
  url_redirect_refused: entry(
    422,
    (detail: { reason: string }) =>
      `The URL redirects, and that is not followed: ${detail.reason}. Use the URL that it leads to in the end.`,
  ),
  url_answer_encoded: entry(
    422,
    () =>
      'The host in the URL sends the image with a Content-Encoding, though asked for none. Upload the image itself.',
  ),
  url_answer_incomplete: entry(
    422,
    () =>
      'The host in the URL broke off before the whole image had come. Try again, or upload the image itself.',
  ),
  url_not_an_image: entry(
    422,
    () =>
      'What the URL leads to is no JPEG, PNG, GIF or WebP image. It may be a page around the image, or one that asks ' +
      'for a login or a Referer: open the URL in a private window, and use the address of the image alone.',
  ),
  vision_image_expired: entry(
    400,
    (detail: { image: string; expires: string }) =>
      `${detail.image} expired at ${detail.expires}. Upload it again, and send its new URL.`,
  ),
  vision_image_unknown: entry(
    400,
    (detail: { image: string }) =>
      `${detail.image} is not on this server: it was never here or has been deleted. Upload it, and send its URL.`,
  ),
  vision_image_unreachable: entry(
    400,
    (detail: { image: string; reason: string }) =>
      `${detail.image} cannot be fetched. ${detail.reason} Or upload the image, or send it as a data URL.`,
  ),
  vision_image_not_an_image: entry(
    400,
    (detail: { image: string }) =>
      `${detail.image} is no JPEG, PNG, GIF or WebP: its bytes are something else, whatever its name or type says. ` +
      'Send the image itself, in one of these formats.',
  ),
  vision_image_invalid: entry(
    400,
    (detail: { image: string; reason: string }) =>
      `${detail.image} cannot be read. ${detail.reason} Make it anew, and send it again.`,
  ),
  vision_image_too_large: entry(
    400,
    (detail: { image: string; reason: string }) =>
      `${detail.image} is too large. ${detail.reason} Make it smaller, and send it again.`,
  ),
  vision_too_many_images: entry(
    400,
    (detail: { limit: number }) =>
      `The request has too many images: at most ${detail.limit} are taken. Leave out older ones.`,
  ),
  vision_body_too_large: entry(
    413,
    (detail: { limit: number }) =>
      `The request, with its images, is too large: at most ${detail.limit} bytes are passed on. ` +
      'Send fewer or smaller images, or upload them first and send their URLs.',
  ),
  vision_upstream_unreachable: entry(
    502,
    (detail: { reason: string }) =>
      `The model’s server cannot be used: ${detail.reason}. Try again, or tell the operator of this server.`,
  ),
  vision_upstream_timeout: entry(
    504,
    () => 'The model’s server took too long to begin its answer. Try again, or with a smaller request.',
  ),
  expires_in_invalid: entry(
    400,
    (detail: { limit: number }) =>
      'expires_in must be a whole number of seconds, at least 1' +
      (Number.isFinite(detail.limit) ? ` and at most ${detail.limit}.` : '.'),
  ),
  fit_invalid: entry(
    400,
    (detail: { apis: string[]; least: number; most: number }) =>
      `fit must be one of ${detail.apis.join(', ')}, or the longest side in pixels, from ${detail.least} to ${detail.most}.`,
  ),
  strip_invalid: entry(400, () => 'strip can be "metadata" and nothing else.'),
  fit_unavailable: entry(
    501,
    (detail: { reason: string }) =>
      `No copy can be made here: ${detail.reason}. Upload the image without fit and strip.`,
  ),
  fit_impossible: entry(
    422,
    (detail: { reasons: string[] }) =>
      `No smaller copy of this image would be taken, as copies are not cropped, padded or enlarged. ${detail.reasons.join(' ')}`,
  ),
  fit_failed: entry(
    422,
    (detail: { reason: string }) =>
      `No copy could be made of this image: ${detail.reason}. Nothing was stored; upload it without fit and strip to keep it as it is.`,
  ),
  fit_busy: entry(
    503,
    () => 'Too many copies are being made at the moment. Nothing was stored; try again shortly.',
  ),
  lifetime_invalid: entry(
    400,
    (detail: { name: string; form: string; limit: number }) =>
      `${detail.name} must be ${detail.form}, at least a second from now` +
      (Number.isFinite(detail.limit) ? ` and at most ${detail.limit} seconds.` : '.'),
  ),
  option_refused: entry(
    400,
    (detail: { name: string }) =>
      `This server cannot do what ${detail.name} asks for, and has not stored the image. Send it without.`,
  ),
  paths_refused: entry(
    415,
    () =>
      'This server opens no files by their paths: those of your machine it cannot see. Send the bytes of each ' +
      'image as multipart/form-data, as clients do that are told that the server is a remote one.',
  ),
  cursor_invalid: entry(
    400,
    () =>
      'limit must be a whole number from 1 to 100, and after the id of an image of yours, as the last answer gave it.',
  ),
  upload_incomplete: entry(
    400,
    () => 'The connection closed before the whole body had arrived. Send it again.',
  ),
  upload_stalled: entry(
    408,
    () => 'The body stopped arriving, or came too slowly. Send it again on a faster connection.',
  ),
  body_fragmented: entry(
    400,
    () => 'The body comes in far too many tiny pieces. Send it with Content-Length, or in larger chunks.',
  ),
  headers_too_large: entry(431, () => 'The headers of the request are too large.'),
  transfer_encoding_refused: entry(
    400,
    () => 'The body comes in a Transfer-Encoding that is not taken. Send it with Content-Length, or chunked.',
  ),
  request_malformed: entry(400, () => 'The request is malformed.'),
  storage_full: entry(507, () => 'The server has no space left for images. Tell its operator.'),
  rate_limited: entry(
    429,
    (detail: { limit: number; window: number; wait: number }) =>
      `Too many requests: ${detail.limit} in ${detail.window} seconds are taken. Try again in ${detail.wait} seconds.`,
  ),
  quota_exceeded: entry(
    429,
    (detail: { limit: number; used: number; bytes: number; wait: number }) =>
      `The quota of this key is ${detail.limit} bytes, of which ${detail.used} are used; this upload counts as ${detail.bytes}. ` +
      `Try again in ${detail.wait} seconds.`,
  ),
  links_exceeded: entry(
    429,
    (detail: { limit: number; wait: number }) =>
      `This key has ${detail.limit} open upload links, and may have no more. ` +
      `Send the images that they are for, or try again in ${detail.wait} seconds.`,
  ),
  file_over_quota: entry(
    413,
    (detail: { bytes: number; limit: number }) =>
      `This upload counts as ${detail.bytes} bytes, which is more than the whole quota of this key, ${detail.limit} bytes.`,
  ),
  usage_unavailable: entry(
    503,
    () => 'How much this key has used cannot be found out now. Try again shortly.',
  ),
  server_busy: entry(
    503,
    () =>
      'The server is at its limit, or this key at its share of it. Nothing was stored. Try again shortly.',
  ),
  store_unavailable: entry(503, () => 'The image store does not answer. Try again shortly.'),
  internal: entry(
    500,
    () => 'Something went wrong on the server. Its log tells what, under this request id.',
  ),
} as const

function orList(items: string[]): string {
  return items.join(', or ')
}

function entry<D extends unknown[]>(status: number, text: (...detail: D) => string) {
  return { status, text }
}
