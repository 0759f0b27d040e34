// The quick start as a TypeScript program writes it. It is never run: the compiler holds it to the types of the schema.

import createClient from "openapi-fetch";
import type { components, paths } from "../build/clients/schema";

type Account = components["schemas"]["Account"];
type Referral = components["schemas"]["Referral"];

const api = createClient<paths>({ baseUrl: "https://refer.example.com" });

async function signUp(email: string, password: string): Promise<Account> {
  const { data, error } = await api.POST("/auth/users/", { body: { email, password } });
  if (error) throw new Error(error.errors?.map((fault) => `${fault.field}: ${fault.code}`).join() ?? error.code);
  return data;
}

async function signIn(email: string, password: string): Promise<void> {
  const { data, error } = await api.POST("/auth/jwt/create/", { body: { email, password } });
  if (error) throw new Error(error.code);
  api.use({ onRequest: ({ request }) => request.headers.set("Authorization", `Bearer ${data.access}`) });
}

async function createCode(expiration_date: string): Promise<string> {
  const { data, error } = await api.POST("/api/referral-code/", { body: { expiration_date } });
  if (error) throw new Error(error.code);
  return data.share_url;
}

async function list(id: number): Promise<Referral[]> {
  const { data, error } = await api.GET("/api/referrals/{id}/", { params: { path: { id }, query: { limit: 100 } } });
  if (error) throw new Error(error.code);
  return data.results;
}

export async function quickstart(email: string, password: string): Promise<(string | null)[]> {
  const account = await signUp(email, password);
  const invitedBy: string | undefined = account.referrer?.username;
  await signIn(email, password);
  const invitation: string = await createCode("2030-12-31");
  const friends = await list(account.id);
  return [invitedBy ?? null, invitation, ...friends.map((friend) => friend.email)];
}
