import './workers.js'
import { createGraphiQLFetcher } from '@graphiql/toolkit'
import { GraphiQL } from 'graphiql'
import 'graphiql/style.css'
import { createClient } from 'graphql-ws'
import { createRoot } from 'react-dom/client'
import './page.css'
import { queries } from './queries.js'

const url = new URL('/graphql', window.location.href)
const live = new URL(url)
live.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'

// It connects when the first subscription is run, and leaves when the last one ends.
const wsClient = createClient({ url: live.href })
const fetcher = createGraphiQLFetcher({ url: url.href, wsClient, enableIncrementalDelivery: false })

createRoot(document.getElementById('playground')).render(
  <GraphiQL fetcher={fetcher} defaultTabs={queries.map((query) => ({ query }))}>
    <GraphiQL.Logo>Nexus</GraphiQL.Logo>
  </GraphiQL>,
)
