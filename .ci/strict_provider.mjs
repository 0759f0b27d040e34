// An OpenID Connect provider that goes by the book, for the tests: PKCE with S256 or nothing, a secret, redirect_uri to
// the letter, codes that are good once, pages to sign in and to agree. The login that somebody types is their address.

import { generateKeyPairSync, randomBytes } from "node:crypto";
import { Provider } from "oidc-provider"; // 8 is the last that runs on Node 18, which Debian 12 has

const { PORT, OIDC_ISSUER, OIDC_CLIENT_ID, OIDC_CLIENT_SECRET, REDIRECT_URI } = process.env;
const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });

const provider = new Provider(OIDC_ISSUER, {
  clients: [
    {
      client_id: OIDC_CLIENT_ID,
      client_secret: OIDC_CLIENT_SECRET,
      redirect_uris: [REDIRECT_URI],
      response_types: ["code"],
    },
  ],
  pkce: { required: () => true }, // S256 is the only method it knows
  responseTypes: ["code"],
  clientAuthMethods: ["client_secret_basic"],
  claims: { openid: ["sub"], profile: [], email: ["email", "email_verified"] },
  findAccount: (_context, sub) => ({
    accountId: sub,
    claims: () => ({ sub, email: sub, email_verified: true }),
  }),
  jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), kid: "1", alg: "RS256", use: "sig" }] },
  cookies: { keys: [randomBytes(32).toString("hex")] },
});

provider.listen(Number(PORT), "127.0.0.1");
