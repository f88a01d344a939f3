import { homedir } from 'node:os'
import { join } from 'node:path'

/** Where tools that tests have made, or `.ci/run` has, last from run to run. */
export const toolFolder = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'layover-tests')
