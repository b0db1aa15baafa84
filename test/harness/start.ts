import type { System } from './client.ts';
import { ContainerSystem, engineAnswers } from './containers.ts';
import { startStack } from './system.ts';

/** What both makers understand. */
export interface SystemOptions {
  /** Settings that both have, such as CULVERT_GRACE. */
  env?: Record<string, string>;
}

/** A whole system by TLS: the images when a Docker engine answers at DOCKER_HOST, processes of this machine when none does. */
export async function startSystem({ env = {} }: SystemOptions = {}): Promise<System> {
  return (await engineAnswers()) ? ContainerSystem.start({ env }) : startStack({ env, tls: true });
}
