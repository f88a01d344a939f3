/** Where the key is kept: for the tab in `sessionStorage`, for longer in `localStorage`. Other pages of this server read it there, too. */
const NAME = 'layover.key'

/** The key if storage may not be used at all: then it lives as long as the page. @type {string | undefined} */
let held

/** @returns {string | undefined} */
export function readKey() {
  return held ?? look(() => sessionStorage) ?? look(() => localStorage)
}

/** Whether it is kept for longer than this tab. */
export const isKeptHere = () => look(() => localStorage) !== undefined

/**
 * @param {string} key
 * @param {{ forLonger: boolean }} options Whether it outlives the tab.
 */
export function keepKey(key, { forLonger }) {
  forgetKey()
  try {
    const storage = forLonger ? localStorage : sessionStorage
    storage.setItem(NAME, key)
  } catch {
    held = key
  }
}

export function forgetKey() {
  held = undefined
  for (const storage of [() => sessionStorage, () => localStorage]) {
    try {
      storage().removeItem(NAME)
    } catch {
      // It may not be used, so nothing is in it.
    }
  }
}

/** @param {() => Storage} storage Even to name it throws where it is forbidden. */
function look(storage) {
  try {
    return storage().getItem(NAME) ?? undefined
  } catch {
    return undefined
  }
}
