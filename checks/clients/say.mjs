// One line for each thing that was looked at; the exit status says whether all were as they should be.

const failures = []

/** Looks at one thing, for at most `seconds`. What `look` returns is what was seen; what it throws is why not. */
export async function see(what, seconds, look) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing within ${seconds} s`)), seconds * 1000)
  })
  try {
    const seen = await Promise.race([look(), late])
    console.log(`ok    ${what}${seen ? `: ${short(seen)}` : ''}`)
  } catch (error) {
    failures.push(what)
    console.log(`FAIL  ${what}: ${short(reason(error))}`)
  } finally {
    clearTimeout(timer)
  }
}

/** Refuses what is not so. */
export function hold(so, why) {
  if (!so) throw new Error(why)
}

/** Ends the program, also where a connection is still open. */
export function done() {
  process.exit(failures.length === 0 ? 0 : 1)
}

/** The gateway that is looked at, as a URL without a path. */
export function gateway() {
  const named = process.env.NEXUS_GATEWAY
  if (!named) {
    console.error('NEXUS_GATEWAY names no gateway')
    process.exit(2)
  }
  return new URL(named)
}

/** The same place for a WebSocket. */
export function socket(base, path) {
  const url = new URL(path, base)
  url.protocol = base.protocol === 'https:' ? 'wss:' : 'ws:'
  return url.href
}

function reason(error) {
  if (Array.isArray(error)) return error.map(reason).join('; ')
  return error?.message ?? error?.reason ?? error
}

function short(seen) {
  const text = (typeof seen === 'string' ? seen : JSON.stringify(seen)).replace(/\s+/g, ' ')
  return text.length > 200 ? `${text.slice(0, 200)}…` : text
}
