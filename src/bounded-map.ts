/** A map that forgets what was set longest ago when it would hold more than `most`. */
export class BoundedMap<V> extends Map<string, V> {
  #most: number

  constructor(most: number) {
    super()
    this.#most = most
  }

  override set(key: string, value: V): this {
    // A map keeps the order in which its keys came, so an old one must go before it comes again.
    this.delete(key)
    super.set(key, value)
    const [oldest] = this.keys()
    if (this.size > this.#most && oldest !== undefined) this.delete(oldest)
    return this
  }
}
