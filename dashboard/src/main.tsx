import { CSPProvider } from '@base-ui/react/csp-provider';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider } from '@tanstack/react-router';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { onLoggedOut } from './api/client.ts';
import { mayRetry, sessionQuery } from './api/queries.ts';
import { startTheme } from './app/theme.ts';
import { createAppRouter } from './router.tsx';
import { Toasts } from './ui/toasts.tsx';

startTheme();
const queries = new QueryClient({
  defaultOptions: { queries: { retry: mayRetry, staleTime: 2_000, refetchOnWindowFocus: true } },
});
const router = createAppRouter(queries);
onLoggedOut.call = () => {
  queries.setQueryData(sessionQuery.queryKey, null);
  void router.invalidate();
};

const root = document.getElementById('root');
if (root === null) throw new Error('the page has no #root');
createRoot(root).render(
  <StrictMode>
    <CSPProvider disableStyleElements>
      <QueryClientProvider client={queries}>
        <Toasts>
          <RouterProvider router={router} />
        </Toasts>
      </QueryClientProvider>
    </CSPProvider>
  </StrictMode>,
);
