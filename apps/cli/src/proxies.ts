// Proxies of the environment, which node's own fetch takes only from version 24 on, and only when it is told to.

import { proxyOf } from "@jamba/loader";
import type { Dispatcher } from "undici";

/** Sends all requests of this process by HTTPS_PROXY and HTTP_PROXY, but for NO_PROXY, where they are set. */
export async function useProxies(env: Readonly<Record<string, string | undefined>>): Promise<void> {
  if (!["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"].some((name) => env[name])) return;
  const undici = await import("undici");
  const direct = new undici.Agent();
  const agents = new Map<string, Dispatcher>();
  const agentFor = (origin: string | URL | undefined): Dispatcher => {
    const proxy = proxyOf(new URL(origin!), env)?.url.href;
    if (proxy === undefined) return direct;
    const agent = agents.get(proxy) ?? new undici.ProxyAgent(proxy);
    agents.set(proxy, agent);
    return agent;
  };
  // EnvHttpProxyAgent would do the same, and warns on every start that it is an experiment.
  class ByEnvironment extends undici.Dispatcher {
    override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandlers): boolean {
      return agentFor(options.origin).dispatch(options, handler);
    }
  }
  undici.setGlobalDispatcher(new ByEnvironment());
}
