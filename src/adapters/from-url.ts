import type { Admission } from '../admission.ts'
import { whileClientWaits } from '../connection.ts'
import { problem } from '../errors.ts'
import { explainRemote, openRemote } from '../intake/remote.ts'
import type { Deps } from '../routes/deps.ts'
import { clientGone, takeUpload, type Upload, type Uploaded } from '../routes/take-upload.ts'

/** Takes the image at a URL that came as a field of a form, as `POST /v1/files/uploads/url` does. Rejects as it does. */
export async function takeFromUrl(
  url: string,
  {
    request,
    reply,
    incoming: { fields },
    translate,
  }: Pick<Upload, 'request' | 'reply' | 'translate'> & { incoming: Fields },
  { deps, doors }: { deps: Deps; doors: Admission },
): Promise<Uploaded> {
  const { config } = deps
  if (!config.urlFetch.isOn) throw problem('url_fetch_off')
  // The request has its place, but room only for its body, which was small.
  using _room = await doors.more(config.maxFileSize)
  const signal = clientGone(reply)
  const body = await openRemote(url, { ...deps, signal })
  const taken = takeUpload({ request, reply, incoming: { body, fields }, translate, signal }, deps)
  return whileClientWaits(request.raw, taken).catch(explainRemote)
}

type Fields = Pick<Upload['incoming'], 'fields'>
