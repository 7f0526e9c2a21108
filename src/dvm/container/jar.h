/*
 * What jar this is: facts of its manifest and its names, that labels, policies and rewriting ask for.
 *
 * The manifest (jar file specification): a main section, then one for each named entry; "Name: value" lines, CR LF, LF or CR, a line that begins with a
 * space goes on with the value before. As java.util.jar.Manifest reads it: names of attributes compare without case; what is not a line of that form is an
 * error. Stricter: an attribute twice in a section, and a section twice for one entry (Java takes the last of the one and merges the other) are refused,
 * since readers would differ.
 *
 * Signatures are told by their files and not verified here.
 */
#pragma once
#include "dvm/container/zip.h"

struct jar_attribute {
	struct slice name, value;	/* value joined over its lines */
};

/* Attributes of the main section (entry empty) or of a named entry. */
struct jar_section {
	struct slice entry;
	const struct jar_attribute *attributes;
	uint32_t count;
};

struct jar_manifest {
	struct jar_section main;
	const struct jar_section *sections;	/* of entries, sorted by name */
	uint32_t count;
};
/* 0, -EBADMSG, -E2BIG, -ENOMEM. Names and values lie in text or in the arena. An empty text is an empty manifest. */
MUST_USE int jar_manifest_parse(struct arena *arena, struct slice text, struct jar_manifest *out, struct errmsg *why);
/* The value, without blanks at its ends; ptr NULL: there is none. */
struct slice jar_attribute(const struct jar_section *s, struct slice name);
/* The section of an entry, or NULL. */
const struct jar_section *jar_section(const struct jar_manifest *m, struct slice entry);

struct jar {
	const struct zip *zip;
	struct jar_manifest manifest;
	bool has_manifest;
	bool multi_release;		/* "Multi-Release: true": classes below META-INF/versions/N/ stand for others */
	bool has_module_info;		/* in its root, or (multi-release) in a version */
	bool is_signed;			/* META-INF has a signature file (.SF) and a block (.RSA, .EC or .DSA) of the same name */
	bool has_agent;			/* Launcher-Agent-Class: code that runs before main, whatever the command line says */
	uint32_t digests;		/* sections with a digest of their entry */
	uint32_t nested;		/* stored or packed jars within */
	uint32_t versions;		/* classes below META-INF/versions */
};
/* Facts of an open zip; out->zip borrows it. 0, -EBADMSG (a manifest that cannot be read), -E2BIG, -ENOMEM. */
MUST_USE int jar_open(struct arena *arena, const struct zip *zip, struct jar *out, struct errmsg *why);

enum jar_entry_kind {
	JAR_OTHER,
	JAR_DIRECTORY,
	JAR_CLASS,			/* for every version */
	JAR_VERSIONED_CLASS,		/* of a multi-release jar: for JVMs of at least jar_entry.version */
	JAR_NESTED,			/* a jar within */
	JAR_MANIFEST,
	JAR_SIGNATURE,			/* .SF, and blocks: fall when anything that they sign changes */
};
struct jar_entry {
	enum jar_entry_kind kind;
	uint16_t version;		/* of a versioned class: 9 and up */
	struct slice class_name;	/* of classes: "java/lang/Object" as its place says; also below BOOT-INF/classes/, WEB-INF/classes/ */
};
struct jar_entry jar_entry_of(const struct jar *jar, const struct zip_entry *e);
