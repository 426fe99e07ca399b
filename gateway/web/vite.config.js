import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

// The gateway serves `dist/index.html` at /graphql and `dist/assets/` at /graphql/assets/. Nothing comes from elsewhere,
// nothing is inline and nothing is evaluated, so that the gateway's Content-Security-Policy holds.
export default defineConfig({
  base: '/graphql/',
  plugins: [react()],
  worker: { format: 'es' },
  build: {
    assetsDir: 'assets',
    modulePreload: { polyfill: false },
    // The editor is one big file, loaded from the gateway once.
    chunkSizeWarningLimit: 8192,
    rollupOptions: {
      // "use no memo" at the top of GraphiQL's files is for React's compiler, which is not used here.
      onwarn: (warning, warn) => warning.code === 'MODULE_LEVEL_DIRECTIVE' || warn(warning),
    },
  },
})
