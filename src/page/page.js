import { find } from './dom.js'
import { imageList } from './images.js'
import { intake } from './intake.js'
import { readKey } from './key.js'
import { keyForm } from './key-form.js'
import { showQuota } from './quota.js'
import { createUploads } from './uploads.js'

// Puts the page together. It speaks to nothing but the API of the server that it comes from.

const form = keyForm({
  onKey() {
    uploads.begin()
    void showQuota()
  },
  onForgotten() {
    find('.quota', HTMLElement).hidden = true
  },
})
const list = imageList({ askForKey: form.ask, onDeleted: showQuota })
const uploads = createUploads({ list, askForKey: form.ask, onIdle: showQuota })
intake(uploads.add)
if (readKey() !== undefined) void showQuota()
