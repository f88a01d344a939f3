import { getManyValues, isMany, none } from 'stream-chain/defs.js'
import { jsonParser, type Token } from 'stream-json/core/parser.js'

/** Objects and lists within each other: nobody has so many, but the parser would remember each. */
const DEEPEST = 32

/** A piece of the value of a member of the outermost object. */
export interface MemberToken {
  readonly name: string
  readonly token: Token
}

/**
 * Reads a JSON object that comes in pieces of UTF-8, without ever holding a value of it. Throws where it is none or ends too early.
 */
export class JsonMembers {
  #parse = jsonParser({ packStrings: false, streamKeys: false, streamNumbers: false })
  #decoder = new TextDecoder('utf-8', { fatal: true })
  #depth = 0
  #name = ''
  #isEmpty = true
  /** Bytes so far. */
  received = 0

  /** What is in one more piece. Values within values are left out, but for their beginning. */
  push(bytes: Uint8Array): MemberToken[] {
    this.received += bytes.length
    return this.#members(this.#decoder.decode(bytes, { stream: true }))
  }

  end(): MemberToken[] {
    const found = [...this.#members(this.#decoder.decode()), ...this.#members(none as unknown as string)]
    if (this.#isEmpty || this.#depth !== 0) throw new SyntaxError('not a whole JSON object')
    return found
  }

  #members(text: string): MemberToken[] {
    const result = this.#parse(text)
    const tokens = isMany(result) ? getManyValues(result) : []
    return tokens.flatMap((token) => this.#place(token) ?? [])
  }

  /** Keeps count of where a token stands. */
  #place(token: Token): MemberToken | undefined {
    if (this.#isEmpty && token.name !== 'startObject') throw new SyntaxError('not a whole JSON object')
    this.#isEmpty = false
    const isDirect = this.#depth === 1
    if (token.name === 'keyValue') {
      if (isDirect) this.#name = token.value
      return undefined
    }
    if (token.name === 'endObject' || token.name === 'endArray') this.#depth -= 1
    else if (token.name === 'startObject' || token.name === 'startArray') this.#depth += 1
    if (this.#depth > DEEPEST) throw new SyntaxError('not a whole JSON object')
    const isEnd = token.name === 'endObject' || token.name === 'endArray'
    return isDirect && !isEnd ? { name: this.#name, token } : undefined
  }
}
