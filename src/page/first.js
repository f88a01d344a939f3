import { find } from './dom.js'
import { readKey } from './key.js'
import { translatePage } from './language.js'

// What the first paint waits for, so that nothing that it shows has to change at once.

translatePage()
find('#key-form', HTMLElement).hidden = readKey() !== undefined
