import { type Bus, errorOfRefusal, Labels, Notes, type Policy, PolicySchema, type Records } from '@culvert/bus';
import { CulvertError, faultOfDeviceName } from '@culvert/contracts';
import { parseNetwork } from '@culvert/service-kit';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { problems } from './problem.ts';

export interface DeviceSettingsOptions {
  bus: Pick<Bus, 'request'>;
  records: Records;
}

const Params = Type.Object({ name: Type.String({ maxLength: 256 }) });
const Profile = Type.Object({ labels: Labels, notes: Notes });
const PolicyBody = Type.Object(PolicySchema.properties, {
  additionalProperties: false,
  description: 'What is absent is bounded by the limits alone',
});

/** What operators say of a device beside its token: labels and notes, and what it is allowed. */
export const deviceSettings: FastifyPluginAsyncTypebox<DeviceSettingsOptions> = async (app, { bus, records }) => {
  const known = async (name: string): Promise<string> => {
    const fault = faultOfDeviceName(name);
    if (fault !== undefined) throw new CulvertError('bad_request', fault);
    const reply = await bus.request('device.show', { device: name });
    if (!reply.ok) throw errorOfRefusal(reply);
    return name;
  };

  app.patch(
    '/v1/devices/:name',
    {
      config: { role: 'operator', audit: 'device.label' },
      schema: {
        summary: 'Label a device, or write notes about it',
        description: 'A label whose value is null or empty is removed; those that are not named stay.',
        params: Params,
        body: Type.Object({
          labels: Type.Optional(Type.Record(Type.String(), Type.Union([Type.String({ maxLength: 128 }), Type.Null()]))),
          notes: Type.Optional(Notes),
        }),
        response: { 200: Profile, ...problems(400, 404, 409) },
      },
    },
    async (request) => {
      const name = await known(request.params.name);
      const present = await records.get('profile', name);
      const labels = { ...present?.value.labels };
      for (const [label, value] of Object.entries(request.body.labels ?? {})) {
        if (!/^[a-z0-9][a-z0-9._-]{0,62}$/.test(label)) {
          throw new CulvertError(
            'bad_request',
            `label ${JSON.stringify(label.slice(0, 64))} is not valid; expected a-z, 0-9, ".", "_" or "-"`,
          );
        }
        if (value === null || value === '') delete labels[label];
        else labels[label] = value;
        request.audited.detail[label] = value;
      }
      if (Object.keys(labels).length > 32) throw new CulvertError('bad_request', 'a device has at most 32 labels');
      const profile = { labels, notes: request.body.notes ?? present?.value.notes ?? '' };
      await records.put('profile', name, profile, { expected: present?.revision ?? 0 });
      return profile;
    },
  );

  app.get(
    '/v1/devices/:name/policy',
    {
      config: { role: 'viewer' },
      schema: { summary: 'What a device is allowed', params: Params, response: { 200: PolicySchema, ...problems(400, 404) } },
    },
    async (request) => (await records.get('policy', await known(request.params.name)))?.value ?? {},
  );

  app.put(
    '/v1/devices/:name/policy',
    {
      config: { role: 'operator', audit: 'device.policy' },
      schema: {
        summary: 'Say what a device is allowed; it holds at once, for ports from its next connection on',
        params: Params,
        body: PolicyBody,
        response: { 200: PolicySchema, ...problems(400, 404) },
      },
    },
    async (request) => {
      const name = await known(request.params.name);
      const policy = request.body as Policy;
      const fault = faultOfPolicy(policy);
      if (fault !== undefined) throw new CulvertError('bad_request', fault);
      request.audited.detail.policy = JSON.stringify(policy).slice(0, 512);
      if (Object.keys(policy).length === 0) await records.delete('policy', name);
      else await records.put('policy', name, policy);
      return policy;
    },
  );
};

function faultOfPolicy({ allow = [], ports = [] }: Policy): string | undefined {
  for (const { port, from } of allow) {
    const wrong = from.find((network) => parseNetwork(network) === undefined);
    if (wrong !== undefined) {
      return `allow of port ${port} has ${JSON.stringify(wrong)}; expected an address or a network such as 192.0.2.0/24 or 2001:db8::/32`;
    }
  }
  const wrong = ports.find((entry) => Number(entry.split(':')[1]?.replace('*', '1')) > 65_535);
  return wrong === undefined ? undefined : `ports has ${wrong}; expected a port up to 65535`;
}
