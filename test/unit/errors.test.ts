import { describe, expect, test } from 'vitest'
import {
  asEnvelope,
  asErrorObject,
  type ErrorCode,
  type Problem,
  problem,
  problemWith,
} from '../../src/errors.ts'

const image = { image: 'The image at messages[0].content[1].image_url.url' }

/** One problem of each code; a code that is missing here does not compile. */
const all: Readonly<Record<ErrorCode, Problem>> = {
  key_missing: problem('key_missing'),
  key_wrong: problem('key_wrong'),
  key_expired: problem('key_expired', { expires: '2026-01-01T00:00:00.000Z' }),
  auth_unavailable: problem('auth_unavailable'),
  not_found: problem('not_found'),
  method_not_allowed: problem('method_not_allowed', { allow: 'POST' }),
  image_not_found: problem('image_not_found'),
  image_expired: problem('image_expired', { expires: '2026-01-01T00:00:00.000Z' }),
  presign_off: problem('presign_off'),
  upload_link_wrong: problem('upload_link_wrong'),
  upload_link_expired: problem('upload_link_expired'),
  upload_mismatch: problem('upload_mismatch', { size: 67, type: 'image/png' }),
  upload_done: problem('upload_done'),
  upload_missing: problem('upload_missing'),
  delete_link_wrong: problem('delete_link_wrong'),
  range_not_satisfiable: problem('range_not_satisfiable', { size: 67 }),
  precondition_failed: problem('precondition_failed'),
  multipart_expected: problem('multipart_expected'),
  multipart_malformed: problem('multipart_malformed'),
  json_expected: problem('json_expected', { example: '{"data":"…"}' }),
  json_malformed: problem('json_malformed', { example: '{"data":"…"}' }),
  member_invalid: problem('member_invalid', { member: 'size', wanted: 'a whole number' }),
  data_missing: problem('data_missing'),
  base64_invalid: problem('base64_invalid'),
  cursor_invalid: problem('cursor_invalid'),
  file_missing: problem('file_missing', { found: ['image', 'photo'] }),
  too_many_files: problem('too_many_files', { limit: 1 }),
  fields_refused: problem('fields_refused'),
  transfer_encoding_refused: problem('transfer_encoding_refused'),
  file_empty: problem('file_empty'),
  file_too_large: problem('file_too_large', { limit: 20_971_520 }),
  body_too_large: problem('body_too_large'),
  format_unsupported: problem('format_unsupported'),
  image_invalid: problem('image_invalid', { format: 'png', reason: 'it holds no pixels' }),
  image_dimensions: problem('image_dimensions', { width: 70_000, height: 80_000, limit: 100_000_000 }),
  url_invalid: problem('url_invalid', { reason: 'it is no whole address' }),
  url_of_this_server: problem('url_of_this_server'),
  url_fetch_off: problem('url_fetch_off'),
  url_forbidden_address: problem('url_forbidden_address'),
  url_unresolvable: problem('url_unresolvable'),
  url_unreachable: problem('url_unreachable', { reason: 'nothing answers there' }),
  url_timeout: problem('url_timeout'),
  url_http_error: problem('url_http_error', { status: 404 }),
  url_redirect_refused: problem('url_redirect_refused', { reason: 'there are more than 5' }),
  url_answer_encoded: problem('url_answer_encoded'),
  url_answer_incomplete: problem('url_answer_incomplete'),
  url_not_an_image: problem('url_not_an_image'),
  fit_invalid: problem('fit_invalid', { apis: ['openai', 'anthropic'], least: 16, most: 16_384 }),
  strip_invalid: problem('strip_invalid'),
  fit_unavailable: problem('fit_unavailable', { reason: 'it is not installed' }),
  fit_impossible: problem('fit_impossible', { reasons: ['Its shorter side has 5 pixels.'] }),
  fit_failed: problem('fit_failed', { reason: 'it takes too much time' }),
  fit_busy: problem('fit_busy'),
  vision_image_expired: problem('vision_image_expired', { ...image, expires: '2026-01-01T00:00:00.000Z' }),
  vision_image_unknown: problem('vision_image_unknown', image),
  vision_image_unreachable: problem('vision_image_unreachable', { ...image, reason: 'Nothing answers.' }),
  vision_image_not_an_image: problem('vision_image_not_an_image', image),
  vision_image_invalid: problem('vision_image_invalid', { ...image, reason: 'It is damaged.' }),
  vision_image_too_large: problem('vision_image_too_large', { ...image, reason: 'It has 30 MB.' }),
  vision_too_many_images: problem('vision_too_many_images', { limit: 250 }),
  vision_body_too_large: problem('vision_body_too_large', { limit: 1024 }),
  vision_upstream_unreachable: problem('vision_upstream_unreachable', { reason: 'it is not there' }),
  vision_upstream_timeout: problem('vision_upstream_timeout'),
  expires_in_invalid: problem('expires_in_invalid', { limit: 259_200 }),
  lifetime_invalid: problem('lifetime_invalid', {
    name: 'Max-Days',
    form: 'a number of days',
    limit: 259_200,
  }),
  option_refused: problem('option_refused', { name: 'Max-Downloads' }),
  paths_refused: problem('paths_refused'),
  upload_incomplete: problem('upload_incomplete'),
  upload_stalled: problem('upload_stalled'),
  body_fragmented: problem('body_fragmented'),
  headers_too_large: problem('headers_too_large'),
  request_malformed: problem('request_malformed'),
  storage_full: problem('storage_full'),
  rate_limited: problem('rate_limited', { limit: 100, window: 60, wait: 30 }),
  quota_exceeded: problem('quota_exceeded', { limit: 200, used: 150, bytes: 70, wait: 3600 }),
  links_exceeded: problem('links_exceeded', { limit: 1000, wait: 40 }),
  file_over_quota: problem('file_over_quota', { bytes: 300, limit: 200 }),
  usage_unavailable: problem('usage_unavailable'),
  server_busy: problem('server_busy'),
  store_unavailable: problem('store_unavailable'),
  internal: problem('internal'),
}

describe.each(Object.entries(all))('%s', (code, problem) => {
  test('tells what is wrong in whole sentences, under its own code and an error status', () => {
    expect(problem.code).toBe(code)
    expect(problem.message).toMatch(/^\S.+\.$/s)
    expect(problem.message).not.toMatch(/undefined|NaN|Infinity|\[object/)
    expect(problem.status).toBeGreaterThanOrEqual(400)
    expect(problem.status).toBeLessThan(600)
  })

  test('has exactly three members in the envelope of /api', () => {
    expect(asEnvelope(problem)).toStrictEqual({ success: false, message: problem.message, data: null })
  })

  test('has the shape that OpenAI clients read elsewhere', () => {
    expect(asErrorObject(problem)).toStrictEqual({
      error: { message: problem.message, type: expect.stringMatching(/_error$/), code, param: null },
    })
  })
})

test.each([
  ['key_wrong', 'authentication_error'],
  ['key_missing', 'authentication_error'],
  ['key_expired', 'authentication_error'],
  ['auth_unavailable', 'server_error'],
  ['file_too_large', 'invalid_request_error'],
  ['image_not_found', 'invalid_request_error'],
  ['storage_full', 'server_error'],
  ['internal', 'server_error'],
] as const)('the type of %s is %s', (code, type) => {
  expect(asErrorObject(all[code]).error.type).toBe(type)
})

test('the texts name the facts that the client needs', () => {
  expect(all.file_too_large.message).toContain('20971520 bytes')
  expect(all.image_expired.message).toContain('2026-01-01T00:00:00.000Z')
  expect(all.key_expired.message).toContain('2026-01-01T00:00:00.000Z')
  expect(all.range_not_satisfiable.message).toContain('67 bytes')
  expect(all.image_dimensions.message).toMatch(/70000 × 80000.*100000000/)
  expect(all.expires_in_invalid.message).toContain('at most 259200')
  expect(all.url_http_error.message).toContain('status 404')
  expect(all.file_missing.message).toContain('found: image, photo')
  expect(problem('file_missing', { found: [] }).message).not.toContain('found')
  expect(problem('expires_in_invalid', { limit: Number.POSITIVE_INFINITY }).message).not.toContain('at most')
})

test('the cause of a problem is kept for the log and is in neither answer', () => {
  const cause = new Error('EIO at /var/lib/secret-place')
  const failed = problemWith('store_unavailable', { cause })
  expect(failed.cause).toBe(cause)
  expect(JSON.stringify([asEnvelope(failed), asErrorObject(failed)])).not.toContain('secret-place')
})

test('a 401 says how to log in, a 503 when to come back, and headers of one answer are added to these', () => {
  expect(all.key_missing.headers).toEqual({ 'www-authenticate': expect.stringContaining('Bearer') })
  expect(all.key_wrong.headers).toEqual({ 'www-authenticate': expect.stringContaining('invalid_token') })
  expect(all.key_expired.headers).toEqual(all.key_wrong.headers)
  expect(all.auth_unavailable.headers).toEqual({ 'retry-after': '5' })
  expect(all.server_busy.headers).toEqual({ 'retry-after': '5' })
  expect(problemWith('store_unavailable', { headers: { 'x-more': '1' } }).headers).toEqual({
    'retry-after': '5',
    'x-more': '1',
  })
})
