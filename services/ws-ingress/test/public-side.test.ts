import { expect, it } from 'vitest';
import { publicSideOf } from '../src/public-side.ts';

const tcp = { port: 22, scheme: 'tcp' as const, public_port: 20_002 };

it('names the edge for names, with its port where visitors have to give it', () => {
  const http = { port: 80, scheme: 'http' as const, host: 'a-x7k2.culvert.example', public_port: 20_001 };
  expect(publicSideOf('https', 443, 'x')(http, 'tcp-listener-1')).toMatchObject({ url: 'https://a-x7k2.culvert.example' });
  expect(publicSideOf('http', 8080, 'x')(http, 'tcp-listener-1')).toMatchObject({ url: 'http://a-x7k2.culvert.example:8080' });
});

it('gives out one host for all listeners, or a name of each', () => {
  expect(publicSideOf('https', 0, 'culvert.example')(tcp, 'tcp-listener-1')).toEqual({
    ...{ type: 'endpoint', port: 22, host: 'culvert.example', public_port: 20_002 },
  });
  const each = publicSideOf('https', 0, '{listener}.tcp.culvert.example');
  expect(each(tcp, 'tcp-listener-1')).toMatchObject({ host: 'tcp-listener-1.tcp.culvert.example' });
  expect(each(tcp, 'tcp-listener-2')).toMatchObject({ host: 'tcp-listener-2.tcp.culvert.example' });
});
