import { ConfigError } from './config.ts'

/** What to do about an error of listening, where that is known. */
export function explainPort(error: NodeJS.ErrnoException & { port?: number }): Error {
  if (error.code === 'EADDRINUSE')
    return new ConfigError(
      `PORT: ${error.port} is taken by another program; set another, as in PORT=${error.port === 8081 ? 8082 : 8081}`,
    )
  if (error.code === 'EACCES')
    return new ConfigError(`PORT: this user may not listen on ${error.port}; set one above 1023`)
  if (error.code === 'ENOTSUP')
    return new ConfigError('WORKERS: must be 1, as this system lets no processes share a port')
  return error
}
