import { ENROLL_PATH, faultOfDeviceName } from '@culvert/contracts';
import { type HandshakeHeaders, type Refusal, splitTarget } from './request.ts';

/** What a device asks for at its first start. */
export interface EnrolmentRequest {
  ok: true;
  name: string;
  /** The enrolment key; never log it. */
  key: string;
  /** The token that the device has made and keeps; never log it. */
  token: string;
}

/** The header with the device's own new token. */
export const DEVICE_TOKEN_HEADER = 'device-token';

const BEARER = /^Bearer +([\x21-\x7e]{1,512})$/i;

/** Checks `POST /v1/enroll?name=<device>` with `Authorization: Bearer <enrolment key>` and `Device-Token: <token>`. */
export function parseEnrolment(method: string, url: string, headers: HandshakeHeaders): EnrolmentRequest | Refusal {
  const refuse = (code: Refusal['code'], message: string): Refusal => ({ ok: false, code, message });
  const query = splitTarget(url);
  if (!query.ok) return query;
  if (query.path !== ENROLL_PATH) return refuse('not_found', `there is nothing at this path; expected ${ENROLL_PATH}`);
  if (method !== 'POST') return refuse('bad_request', `method is ${method.slice(0, 16)}; expected POST`);
  const name = query.parameters.get('name') ?? '';
  const fault = faultOfDeviceName(name);
  if (fault !== undefined) return refuse('bad_request', fault);
  const { authorization, [DEVICE_TOKEN_HEADER]: token } = headers;
  const key = typeof authorization === 'string' ? BEARER.exec(authorization)?.[1] : undefined;
  if (key === undefined) return refuse('unauthorized', 'the enrolment key is missing; expected Authorization: Bearer <key>');
  if (typeof token !== 'string' || token.length > 512) {
    return refuse('bad_request', 'Device-Token is missing; expected the token that the device has made');
  }
  return { ok: true, name, key, token };
}

/** The answer to a device that has enrolled. */
export function renderEnrolled(name: string): string {
  const body = `${JSON.stringify({ name })}\n`;
  const head = ['HTTP/1.1 201 Created', 'Content-Type: application/json', `Content-Length: ${Buffer.byteLength(body)}`];
  return [...head, 'Cache-Control: no-store', 'Connection: close', '', body].join('\r\n');
}
