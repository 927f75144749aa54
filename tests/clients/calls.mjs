// Every network-group call of the platform's JavaScript client, with both of its interfaces and both
// credentials. Ends with an error at the first answer that is not what the client's users count on.
import assert from 'node:assert/strict';
import { CcApiClient } from '@clevercloud/client/cc-api-client.js';
import * as api from '@clevercloud/client/esm/api/v4/network-group.js';
import { addOauthHeader } from '@clevercloud/client/esm/oauth.js';
import { prefixUrl } from '@clevercloud/client/esm/prefix-url.js';
import { request } from '@clevercloud/client/esm/request.fetch.js';

const { API, OWNER } = process.env;
const token = JSON.parse(process.env.TOKEN);
const ownerId = OWNER;
const consumer = { key: 'T5nFjKeHH4AIlEveuGhB5S3xg8T19e', secret: 'MgVMqTr6fWlf2M0tkC2MXOnhfqBWDT' };
const KEYS = ['xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=', 'TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0='];

async function command(name) {
  const module = await import(`@clevercloud/client/cc-api-commands/network-group/${name}-command.js`);
  return Object.entries(module).find(([key]) => key.endsWith('Command'))[1];
}

// The commands of today's interface.
async function commands(client) {
  const run = async (name, params) => client.send(new (await command(name))({ ownerId, ...params }));
  const made = await run('create-network-group', {
    label: 'from commands', description: 'made by a test', tags: ['js'],
    members: [{ id: 'app_commands', label: 'web' }],
  });
  const networkGroupId = made.id;
  assert.equal(made.label, 'from commands');
  assert.equal(made.members[0].label, 'web');
  assert.ok((await run('list-network-group')).some((group) => group.id === networkGroupId));
  assert.equal((await run('get-network-group', { networkGroupId })).description, 'made by a test');

  const memberId = 'external_commands';
  const member = await run('create-network-group-member', { networkGroupId, memberId, label: 'laptop' });
  assert.equal(member.kind, 'EXTERNAL');
  assert.equal((await run('get-network-group-member', { networkGroupId, memberId })).label, 'laptop');
  const peer = await run('create-network-group-external-peer', {
    networkGroupId, label: 'laptop', peerRole: 'CLIENT', publicKey: KEYS[0], parentMember: memberId,
  });
  assert.equal(peer.type, 'ExternalPeer');
  const peerId = peer.id;
  assert.equal((await run('get-network-group-peer', { networkGroupId, peerId })).publicKey, KEYS[0]);
  const text = await run('get-network-group-wireguard-configuration', { networkGroupId, peerId });
  assert.match(text, /\[Interface\]/);
  const { url } = await run('get-network-group-wireguard-configuration-url', { networkGroupId, peerId });
  assert.equal(await (await fetch(url)).text(), text);
  const types = new Set((await run('search-network-group', { query: 'laptop' })).map((found) => found.type));
  assert.deepEqual([...types].sort(), ['ExternalPeer', 'Member']);

  await run('delete-network-group-external-peer', { networkGroupId, externalPeerId: peerId });
  assert.equal(await run('get-network-group-peer', { networkGroupId, peerId }), null);
  await run('delete-network-group-member', { networkGroupId, memberId });
  await run('delete-network-group', { networkGroupId });
  assert.equal(await run('get-network-group', { networkGroupId }), null);
}

// The functions of the older interface, which clients in the field still use.
async function functions() {
  const tokens = {
    OAUTH_CONSUMER_KEY: consumer.key, OAUTH_CONSUMER_SECRET: consumer.secret,
    API_OAUTH_TOKEN: token.clever_token, API_OAUTH_TOKEN_SECRET: token.clever_secret,
  };
  const send = (params) => Promise.resolve(params).then(prefixUrl(API)).then(addOauthHeader(tokens)).then(request);
  const networkGroupId = 'ng_00000000-0000-4000-8000-000000000001';
  const of = (rest) => ({ ownerId, networkGroupId, ...rest });
  await send(api.createNetworkGroup({ ownerId }, { id: networkGroupId, ownerId, label: 'from functions' }));
  assert.ok((await send(api.listNetworkGroups({ ownerId }))).some((group) => group.id === networkGroupId));
  const memberId = 'postgresql_functions';
  const body = { id: memberId, domainName: `${memberId}.m.${networkGroupId}.cc-ng.cloud`, kind: 'ADDON' };
  for (let replay = 0; replay < 2; replay++) await send(api.createNetworkGroupMember(of(), body));
  assert.equal((await send(api.listNetworkGroupMembers(of()))).length, 1);
  assert.equal((await send(api.getNetworkGroupMember(of({ memberId })))).domainName, body.domainName);
  const { peerId } = await send(api.createNetworkGroupExternalPeer(of(), {
    label: 'server', peerRole: 'SERVER', publicKey: KEYS[1], parentMember: memberId, ip: '192.0.2.7', port: 51820,
  }));
  const peer = await send(api.getNetworkGroupPeer(of({ peerId })));
  assert.deepEqual(peer.endpoint.publicTerm, { host: '192.0.2.7', port: 51820 });
  assert.equal((await send(api.listNetworkGroupPeers(of()))).length, 1);
  assert.match(await send(api.getNetworkGroupWireGuardConfiguration(of({ peerId }))), /\[Interface\]/);
  await streams(send, of, peerId, tokens);
  await assert.rejects(send(api.getNetworkGroupPeer(of({ peerId: 'x' }))), (error) => {
    assert.ok(error.response.status >= 400 && error.message.length > 0 && !error.message.includes('{'), error.message);
    return true;
  });
  await send(api.deleteNetworkGroupExternalPeer(of({ peerId })));
  await send(api.deleteNetworkGroupMember(of({ memberId })));
  await send(api.deleteNetworkGroup(of()));
  await assert.rejects(send(api.getNetworkGroup(of())), (error) => error.response.status === 404);
}

// Both streams, with the credential in a header and in the address.
async function streams(send, of, peerId, tokens) {
  const calls = [
    [api.getNetworkGroupWireGuardConfigurationStream(of({ peerId })), 'configuration'],
    [api.getNetworkGroupStream(of()), 'label'],
  ];
  for (const [call, field] of calls) {
    const params = await Promise.resolve(call).then(prefixUrl(API)).then(addOauthHeader(tokens));
    const inAddress = new URL(params.url);
    inAddress.searchParams.set('authorization', btoa(params.headers.authorization));
    const { authorization, ...without } = params.headers;
    for (const [url, headers] of [[params.url, params.headers], [inAddress, without]]) {
      const stop = new AbortController();
      const response = await fetch(url, { headers, signal: stop.signal });
      assert.equal(response.status, 200);
      let text = '';
      for await (const bytes of response.body) {
        text += Buffer.from(bytes).toString();
        if (/^data:.*\n\n/m.test(text)) break;
      }
      assert.ok(text.includes(`"${field}"`), text);
      stop.abort();
    }
  }
}

const oauthTokens = {
  consumerKey: consumer.key, consumerSecret: consumer.secret, token: token.clever_token, secret: token.clever_secret,
};
await commands(new CcApiClient({ baseUrl: API, authMethod: { type: 'oauth-v1', oauthTokens } }));
await commands(new CcApiClient({ baseUrl: API, authMethod: { type: 'api-token', apiToken: token.token } }));
await functions();
console.log('all calls are answered');
