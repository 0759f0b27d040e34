-- Says what the service may do in its database: work with rows, and with some of them only in part; no DDL.
-- psql runs it as the owner of the database, who may create roles, after each `manage.py migrate` and `restore`; it
-- says the same again. APP_PASSWORD is in the environment. The service connects as `app`; the owner migrates, backs up
-- and restores.
\set ON_ERROR_STOP on
\getenv app_password APP_PASSWORD
SET client_min_messages = warning;

BEGIN;
SELECT 'CREATE ROLE app' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') \gexec
ALTER ROLE app LOGIN PASSWORD :'app_password';

SELECT format('GRANT CONNECT ON DATABASE %I TO app', current_database()) \gexec
SELECT format('REVOKE CREATE, TEMPORARY ON DATABASE %I FROM PUBLIC', current_database()) \gexec
REVOKE CREATE ON SCHEMA public FROM PUBLIC; -- as it is by itself from PostgreSQL 15 on
GRANT USAGE ON SCHEMA public TO app;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO app;

-- Until this is run again, the same holds for tables of a new version.
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO app;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO app;

-- Which migrations were applied is for the owner to say, and which kinds of rows and rights there are.
REVOKE INSERT, UPDATE, DELETE ON django_migrations, django_content_type, auth_permission FROM app;
-- A referral is written once, a code is retired and not erased, an account is closed and not deleted.
REVOKE UPDATE, DELETE ON referrals_referral FROM app;
REVOKE DELETE ON referrals_referralcode, users_user FROM app;
-- What happened, happened: an audit row loses its client when its account is closed, and goes by age.
REVOKE UPDATE ON users_auditevent FROM app;
GRANT UPDATE (client) ON users_auditevent TO app;
ALTER TABLE users_auditevent ENABLE ROW LEVEL SECURITY; -- which the owner is not held to
DROP POLICY IF EXISTS reading ON users_auditevent;
DROP POLICY IF EXISTS adding ON users_auditevent;
DROP POLICY IF EXISTS forgetting_the_client ON users_auditevent;
DROP POLICY IF EXISTS going_by_age ON users_auditevent;
CREATE POLICY reading ON users_auditevent FOR SELECT USING (true);
CREATE POLICY adding ON users_auditevent FOR INSERT WITH CHECK (true);
CREATE POLICY forgetting_the_client ON users_auditevent FOR UPDATE USING (true) WITH CHECK (client = '');
CREATE POLICY going_by_age ON users_auditevent FOR DELETE USING (created_at < now() - interval '89 days');
COMMIT;
