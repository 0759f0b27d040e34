"""The statements, each prepared once a connection by asyncpg."""

USER = "SELECT id, email, token_version FROM users_user WHERE id = $1 AND is_active"

_REFERRALS = """
SELECT r.id AS position, u.id, u.username, u.email, r.created_at AS registered_at, c.code
FROM (
    SELECT id, referred_id, code_id, created_at FROM referrals_referral
    WHERE referrer_id = $1 {where} ORDER BY id {order} LIMIT {limit}
) r
JOIN users_user u ON u.id = r.referred_id
JOIN referrals_referralcode c ON c.id = r.code_id
ORDER BY r.id {order}
"""


def referrals(limit: int, where: str = "", order: str = "DESC") -> str:
    """The page is cut first and joined then, whatever the planner thinks of how many referrals one has."""
    return _REFERRALS.format(where=where, order=order, limit=int(limit))


OWN_CODE = """
SELECT code, expires_at, created_at FROM referrals_referralcode
WHERE owner_id = $1 AND retired_at IS NULL AND expires_at > now()
"""
FINDABLE_CODE = """
SELECT c.owner_id, c.code, c.expires_at
FROM users_user u JOIN referrals_referralcode c ON c.owner_id = u.id
WHERE u.email = $1 AND u.is_active AND u.discoverable_by_email AND c.retired_at IS NULL AND c.expires_at > now()
"""
COUNT_LOOKUP = """
INSERT INTO referrals_lookupcount AS counted (owner_id, lookups) VALUES ($1, 1)
ON CONFLICT (owner_id) DO UPDATE SET lookups = counted.lookups + 1
"""
USABLE_CODE = """
SELECT c.id, c.owner_id, c.code, c.expires_at, u.username
FROM referrals_referralcode c JOIN users_user u ON u.id = c.owner_id
WHERE c.folded = $1 AND c.retired_at IS NULL AND c.expires_at > now() AND u.is_active
"""
LOCK_CODE = USABLE_CODE + "FOR NO KEY UPDATE OF c"

LOCK_USER = "SELECT closed_at FROM users_user WHERE id = $1 FOR NO KEY UPDATE"
RETIRE_EXPIRED = "UPDATE referrals_referralcode SET retired_at = expires_at WHERE owner_id = $1 AND retired_at IS NULL"
CODE_WAS_USED = "SELECT EXISTS (SELECT FROM referrals_referralcode WHERE folded = $1)"
NEW_CODE = """
INSERT INTO referrals_referralcode (owner_id, code, folded, expires_at) VALUES ($1, $2, $3, $4)
RETURNING code, expires_at, created_at
"""
LOCK_OWN_CODE = """
SELECT id FROM referrals_referralcode
WHERE owner_id = $1 AND retired_at IS NULL AND expires_at > now() FOR NO KEY UPDATE
"""
RETIRE = """
UPDATE referrals_referralcode SET retired_at = statement_timestamp()
WHERE id = $1 AND retired_at IS NULL AND expires_at > statement_timestamp()
"""

BY_EMAIL = "SELECT id, password, is_active, token_version FROM users_user WHERE email = $1"
BY_USERNAME = "SELECT id, password, is_active, token_version FROM users_user WHERE lower(username) = $1"
RENEW_HASH = "UPDATE users_user SET password = $3 WHERE id = $1 AND password = $2"
AUDIT = """
INSERT INTO users_auditevent (kind, user_id, client, request_id, detail) VALUES ($1, $2, $3, $4, '{}')
"""
NEW_FAMILY = """
INSERT INTO users_tokenfamily (user_id, current, previous, expires_at) VALUES ($1, $2, '', $3) RETURNING id
"""
USER_IS_ALIVE = "SELECT EXISTS (SELECT FROM users_user WHERE id = $1 AND is_active AND token_version = $2)"
ROTATE = """
UPDATE users_tokenfamily SET current = $3, previous = $2, rotated_at = now()
WHERE id = $1 AND current = $2 AND ended_at IS NULL AND expires_at > now()
"""
END_REUSED = """
UPDATE users_tokenfamily SET ended_at = now(), expires_at = now()
WHERE id = $1 AND ended_at IS NULL AND expires_at > now()
  AND NOT (previous = $2 AND coalesce(rotated_at > now() - interval '10 seconds', false))
"""

EMAIL_IS_TAKEN = "SELECT EXISTS (SELECT FROM users_user WHERE email = $1)"
USERNAME_IS_TAKEN = "SELECT EXISTS (SELECT FROM users_user WHERE lower(username) = $1)"
NEW_USER = """
INSERT INTO users_user (email, username, password, discoverable_by_email, language, is_active, is_staff, is_superuser,
                        token_version)
VALUES ($1, $2, $3, true, 'en', true, false, false, 0) RETURNING id, registered_at
"""
NEW_MAIL = """
INSERT INTO users_outgoingemail ("to", reader_id, subject, message, next_try_at, tries, last_error)
VALUES ($1, $2, $3, $4, now(), 0, '')
"""
NEW_REFERRAL = """
INSERT INTO referrals_referral (referrer_id, referred_id, code_id) VALUES ($1, $2, $3) RETURNING created_at
"""
