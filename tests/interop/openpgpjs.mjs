// OpenPGP.js on the command line, for the interoperability tests.
//   generate DIR               writes DIR/openpgpjs.pub.asc and DIR/openpgpjs.sec.asc (version 6, X25519, announces SEIPD v2)
//   encrypt PUBLIC MESSAGE     standard input to MESSAGE, sealed to PUBLIC
//   decrypt SECRET MESSAGE     the plain bytes of MESSAGE to standard output
// MESSAGE is binary. Exit status 2 and one line on standard error when something fails.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as openpgp from 'openpgp';

const commands = { generate, encrypt, decrypt };

async function generate(dir) {
  const { publicKey, privateKey } = await openpgp.generateKey({
    type: 'curve25519',
    userIDs: [{ name: 'OpenPGP.js test', email: 'openpgpjs@example.org' }],
    config: { v6Keys: true, aeadProtect: true },
  });
  await writeFile(join(dir, 'openpgpjs.pub.asc'), publicKey);
  await writeFile(join(dir, 'openpgpjs.sec.asc'), privateKey, { mode: 0o600 });
}

async function encrypt(publicPath, messagePath) {
  const encryptionKeys = await openpgp.readKey({ armoredKey: await readFile(publicPath, 'utf8') });
  const message = await openpgp.createMessage({ binary: await input() });
  const sealed = await openpgp.encrypt({ message, encryptionKeys, format: 'binary' });
  await writeFile(messagePath, sealed);
}

async function decrypt(secretPath, messagePath) {
  const decryptionKeys = await openpgp.readPrivateKey({ armoredKey: await readFile(secretPath, 'utf8') });
  const message = await openpgp.readMessage({ binaryMessage: await readFile(messagePath) });
  const { data } = await openpgp.decrypt({ message, decryptionKeys, format: 'binary' });
  await new Promise((done) => process.stdout.write(data, done));
}

async function input() {
  const parts = [];
  for await (const part of process.stdin) parts.push(part);
  return new Uint8Array(Buffer.concat(parts));
}

const [name, ...args] = process.argv.slice(2);
try {
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (command === undefined || args.length !== command.length) {
    throw new Error('usage: openpgpjs.mjs generate DIR | encrypt PUBLIC MESSAGE | decrypt SECRET MESSAGE');
  }
  await command(...args);
} catch (error) {
  process.stderr.write(`openpgpjs: ${error.message}\n`);
  process.exitCode = 2;
}
