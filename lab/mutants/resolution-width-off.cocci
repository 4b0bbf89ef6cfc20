// A connector is a pixel narrower than it was configured.
@@
expression pipe, config;
@@
display_pipe_init(...)
{
<+...
pipe->width =
- config->width
+ config->width - 1
;
...+>
}
