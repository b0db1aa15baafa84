import { startStack } from '../harness/system.ts';
import { describeSystem, LIMITS } from '../harness/system-conformance.ts';

describeSystem('processes', () => startStack({ tls: true, env: LIMITS }));
