// Chromium, with no network but the gateway: the live feed, the playground and Swagger UI as a person meets them.
import { mkdirSync } from 'node:fs'
import { chromium } from 'playwright-core'
import { done, gateway, hold, see, socket } from './say.mjs'

const base = gateway()
const shots = process.env.NEXUS_SHOTS ?? 'shots'
mkdirSync(shots, { recursive: true })

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    // In a container the user is often root, which Chromium's sandbox refuses. The pages are ours.
    '--no-sandbox',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-quic',
    '--disable-sync',
    '--no-first-run',
    // Nothing but the gateway has an address.
    `--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE ${base.hostname}`,
  ],
})
const context = await browser.newContext({ serviceWorkers: 'block', viewport: { width: 1280, height: 800 } })

// What a page tried elsewhere, and what it complained of, since it was last asked.
const outside = []
const complaints = []
const ours = (url) => ['data:', 'blob:', 'about:'].includes(url.protocol) || url.host === base.host

await context.route('**/*', (route) => {
  const url = new URL(route.request().url())
  if (ours(url)) return route.continue()
  outside.push(url.href)
  return route.abort()
})
await context.addInitScript(() => {
  document.addEventListener('securitypolicyviolation', (event) => {
    console.error(`policy: ${event.effectiveDirective} forbids ${event.blockedURI}`)
  })
})

async function open(path) {
  const page = await context.newPage()
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()))
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('websocket', (opened) => ours(new URL(opened.url())) || outside.push(opened.url()))
  const answer = await page.goto(new URL(path, base).href, { timeout: 20_000 })
  hold(answer.status() === 200, `${path} answers ${answer.status()}`)
  return { page, policy: answer.headers()['content-security-policy'] ?? '' }
}

/** The policy that every page is under: scripts are files of the gateway, and nothing is evaluated. */
function strict(policy) {
  const scripts = policy.split(';').map((part) => part.trim()).find((part) => part.startsWith('script-src'))
  hold(scripts === "script-src 'self'", `the policy is ${policy || 'missing'}`)
  return policy
}

/** That a page kept to the gateway and its policy. */
async function clean(name) {
  await see(`${name}: nothing went elsewhere, nothing was complained of`, 1, async () => {
    const [tried, said] = [outside.splice(0), complaints.splice(0)]
    hold(tried.length === 0, `tried ${tried.join(' ')}`)
    hold(said.length === 0, said.join(' | '))
  })
}

const json = async (path) => (await fetch(new URL(path, base), { signal: AbortSignal.timeout(10_000) })).json()

// --- the live feed ---

await see('browser: new WebSocket(…) with only onmessage receives telemetry', 60, async () => {
  const { page } = await open('/graphql')
  const frame = await page.evaluate(
    (url) =>
      new Promise((resolve) => {
        const socket = new WebSocket(url)
        socket.onmessage = (event) => {
          const frame = JSON.parse(event.data)
          if (!frame.samples?.length) return
          socket.close()
          resolve(frame)
        }
      }),
    socket(base, '/ws'),
  )
  await page.close()
  hold(frame.type && frame.revision !== undefined && frame.cluster_id, JSON.stringify(frame))
  for (const field of ['host_id', 'gpu_id', 'timestamp', 'data']) {
    hold(frame.samples[0][field] !== undefined, `a sample without ${field}: ${JSON.stringify(frame.samples[0])}`)
  }
  const { type, revision, cluster_id, samples } = frame
  return { type, revision, cluster_id, samples: samples.length, first: samples[0] }
})
await clean('browser')

// --- the playground ---

let playground
await see('playground: the page is there, under a strict policy', 30, async () => {
  const opened = await open('/graphql')
  playground = opened.page
  hold((await playground.title()) === 'Nexus', `the title is ${await playground.title()}`)
  hold(!(await playground.content()).includes('make build-web'), 'the gateway was built without it')
  await playground.waitForSelector('.graphiql-execute-button', { timeout: 20_000 })
  await playground.waitForSelector('.graphiql-editor .view-line', { timeout: 20_000 })
  return strict(opened.policy)
})

/** Runs a tab's query; what is shown, once it is what was waited for. */
async function shown(tab, wanted) {
  hold(playground, 'there is no page')
  await playground.locator('.graphiql-tab-button', { hasText: tab }).click()
  // GraphiQL takes half a second to notice that the operation has another name.
  await playground.waitForTimeout(1000)
  await playground.locator('.graphiql-execute-button').click()
  const response = playground.locator('.graphiql-response')
  for (;;) {
    // The editor writes spaces that do not break.
    const text = (await response.innerText()).replace(/\u00a0/g, ' ')
    hold(!text.includes('"errors"'), text)
    if (text.includes(wanted)) return text
    await playground.waitForTimeout(100)
  }
}

await see('playground: a query is run, its result is what REST says', 30, async () => {
  const cluster = (await json('/api/v1/clusters')).items[0]
  const text = await shown('Clusters', `"cluster_id": "${cluster.cluster_id}"`)
  await playground.screenshot({ path: `${shots}/playground.png` })
  return text
})
await see('playground: the other query shows telemetry', 30, async () => {
  return await shown('Telemetry', '"timestamp"')
})
await see('playground: a subscription shows telemetry', 60, async () => {
  const text = await shown('Live', '"timestamp"')
  await playground.screenshot({ path: `${shots}/playground-live.png` })
  await playground.locator('.graphiql-execute-button').click()
  return text
})
await see('playground: the documentation knows the schema', 20, async () => {
  hold(playground, 'there is no page')
  await playground.locator('.graphiql-sidebar button').first().click()
  const text = playground.locator('.graphiql-doc-explorer-content')
  await text.getByText('Query', { exact: true }).first().waitFor({ timeout: 15_000 })
  await playground.screenshot({ path: `${shots}/playground-docs.png` })
  return await text.innerText()
})
await clean('playground')
await playground?.close()

// --- Swagger UI ---

await see('swagger: the page lists every operation, under a strict policy', 40, async () => {
  const described = Object.values((await json('/openapi.json')).paths)
  const methods = ['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace']
  const operations = described.flatMap((path) => Object.keys(path).filter((key) => methods.includes(key)))
  const { page, policy } = await open('/swagger/index.html')
  await page.waitForSelector('.opblock', { timeout: 20_000 })
  const listed = await page.locator('.opblock').count()
  await page.screenshot({ path: `${shots}/swagger.png` })
  strict(policy)
  hold(listed === operations.length, `${listed} of ${operations.length}`)

  const one = page.locator('.opblock').filter({ has: page.locator('[data-path="/api/v1/clusters"]') }).first()
  await one.locator('.opblock-summary-control').click()
  // The page opens each operation ready to be tried; its button would end that.
  if ((await one.locator('.execute').count()) === 0) await one.locator('.try-out__btn').click()
  await one.locator('.execute').click()
  const status = one.locator('.live-responses-table .response-col_status').last()
  await status.waitFor({ timeout: 15_000 })
  await status.scrollIntoViewIfNeeded()
  await page.screenshot({ path: `${shots}/swagger-tried.png` })
  const answered = await status.innerText()
  hold(answered.startsWith('200'), `trying /api/v1/clusters out gives ${answered}`)
  await page.close()
  return `${listed} operations; /api/v1/clusters tried out: ${answered}`
})
await clean('swagger')

await browser.close()
done()
