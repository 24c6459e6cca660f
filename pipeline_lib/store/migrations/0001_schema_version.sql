CREATE TABLE schema_version (
    version INTEGER PRIMARY KEY,
    name VARCHAR NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT current_timestamp
);
COMMENT ON TABLE schema_version IS 'Applied migration. The highest version is the version of the schema.';
COMMENT ON COLUMN schema_version.version IS 'Number of the migration';
COMMENT ON COLUMN schema_version.name IS 'File name of the migration';
COMMENT ON COLUMN schema_version.applied_at IS 'When it was applied';
