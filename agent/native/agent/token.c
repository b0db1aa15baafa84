/* Tokens and keys in files: the first word of the file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

int secret_exists(const char *path) {
  FILE *file = fopen(path, "r");
  if (file != NULL) fclose(file);
  return file != NULL;
}

/* Without the white space around it; 0, or -1 when it is none. */
static int take(const char *text, char token[513]) {
  char word[600];
  size_t length;
  text += strspn(text, " \t\r\n");
  length = strlen(text);
  while (length > 0 && strchr(" \t\r\n", text[length - 1]) != NULL) length--;
  if (length >= sizeof word) return -1;
  memcpy(word, text, length);
  word[length] = '\0';
  if (!is_token(word)) return -1;
  strcpy(token, word);
  return 0;
}

int secret_read(const char *path, char token[513]) {
  char text[600];
  size_t length;
  FILE *file = fopen(path, "r");
  if (file == NULL) return -1;
  length = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[length] = '\0';
  return take(text, token);
}

int token_read(const options *o, char token[513], char *why, size_t size) {
  const char *environment = getenv("CULVERT_TOKEN");
  const char *where = o->token_file != NULL ? o->token_file : "CULVERT_TOKEN";
  if (o->token_file != NULL && !secret_exists(o->token_file)) {
    snprintf(why, size, "--token-file %.256s cannot be read", o->token_file);
    return -1;
  }
  if (o->token_file == NULL && environment == NULL) {
    snprintf(why, size, "no token; expected --token-file FILE or the environment variable CULVERT_TOKEN");
    return -1;
  }
  if ((o->token_file != NULL ? secret_read(o->token_file, token) : take(environment, token)) == 0) return 0;
  snprintf(why, size, "%.256s holds no token; expected the one of culvert device add", where);
  return -1;
}
