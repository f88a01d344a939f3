import type { WriteStream } from 'node:tty'
import { sizeText } from '../../units.ts'
import { plain } from './failure.ts'

/** What a file's upload tells of itself. */
export interface Progress {
  /** So many bytes more have gone. */
  sent(bytes: number): void
  /** It begins once more. */
  again(): void
  /** It is stored: the bar stays. */
  done(): void
  /** It is not, or something else is to be said: the bar goes. */
  clear(): void
}

/** For nobody who looks. */
export const noProgress: Progress = { sent() {}, again() {}, done() {}, clear() {} }

/** Milliseconds between two looks of a bar. */
const PAUSE = 100
const CLEAR = '\r\u001b[K'

/** A bar on a line of the terminal, with size and speed; without a bar if the size in bytes is not known. */
export function progressOn(terminal: WriteStream, name: string, size: number | undefined): Progress {
  let [sent, begun, drawn] = [0, performance.now(), Number.NEGATIVE_INFINITY]

  function draw(end = ''): void {
    drawn = performance.now()
    const speed = sent / Math.max(0.001, (drawn - begun) / 1000)
    const text = lineOf({ name: plain(name), sent, size, speed, width: (terminal.columns || 80) - 1 })
    terminal.write(`${CLEAR}${text}${end}`)
  }

  draw()
  return {
    sent(bytes) {
      sent += bytes
      if (performance.now() - drawn >= PAUSE) draw()
    },
    again() {
      ;[sent, begun] = [0, performance.now()]
      draw()
    },
    done: () => draw('\n'),
    clear: () => void terminal.write(CLEAR),
  }
}

interface Line {
  readonly name: string
  readonly sent: number
  readonly size: number | undefined
  /** Bytes a second. */
  readonly speed: number
  /** Columns. */
  readonly width: number
}

const BAR = 20

/** The line, cut so that it never wraps, as a second line could not be taken back. */
export function lineOf({ name, sent, size, speed, width }: Line): string {
  const rate = `${sizeText(speed)}/s`
  if (size === undefined) return fitted(name, `${sizeText(sent)}  ${rate}`, width)
  const share = size === 0 ? 1 : Math.min(1, sent / size)
  const full = Math.floor(share * BAR)
  const bar = `${'█'.repeat(full)}${'░'.repeat(BAR - full)} ${String(Math.floor(share * 100)).padStart(3)}%`
  const numbers = `${sizeText(sent)} of ${sizeText(size)}  ${rate}`
  return fitted(name, `${bar}  ${numbers}`, width)
}

/** The name, shortened if need be, and the rest. */
function fitted(name: string, rest: string, width: number): string {
  const room = width - rest.length - 2
  if (room < 4) return cut(rest, width)
  return `${columnsOf(name) <= room ? name : `${cut(name, room - 1)}…`}  ${rest}`
}

function cut(text: string, width: number): string {
  let kept = ''
  for (const character of text) {
    if (columnsOf(kept + character) > width) break
    kept += character
  }
  return kept
}

const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}|[\u{20000}-\u{3fffd}]/u

/** Columns of a terminal that a text takes. */
function columnsOf(text: string): number {
  let columns = 0
  for (const character of text) columns += WIDE.test(character) ? 2 : /\p{Mn}|\u200d/u.test(character) ? 0 : 1
  return columns
}
