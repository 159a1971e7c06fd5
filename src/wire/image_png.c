#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

#include <berth/err.h>

#include "wire/image_priv.h"

/* libpng reports an error by a function that must not return: see image_jpeg.c about setjmp. */
struct job {
    png_structp png;
    png_infop info;
    jmp_buf jump;
    const uint8_t *bytes;
    size_t left;
    char msg[160];
    struct berth_image image;
};

_Noreturn static void
on_error(png_structp png, png_const_charp msg)
{
    struct job *job = png_get_error_ptr(png);

    (void)snprintf(job->msg, sizeof job->msg, "%s", msg);
    longjmp(job->jump, 1); /* NOLINT(cert-err52-cpp): libpng's way, see above */
}

static void
on_warning(png_structp png, png_const_charp msg)
{
    (void)png;
    (void)msg;
}

static void
on_read(png_structp png, png_bytep ret, size_t n)
{
    struct job *job = png_get_io_ptr(png);

    if (n > job->left)
        png_error(png, "the file is cut short");
    memcpy(ret, job->bytes, n);
    job->bytes += n;
    job->left -= n;
}

/* Ask for 8 bits a channel without transparency; palettes become colours.  Returns the channels
 * of a row. */
static uint32_t
choose_colours(struct job *job, uint32_t channels)
{
    const int type = png_get_color_type(job->png, job->info);
    const int depth = png_get_bit_depth(job->png, job->info);

    if (type == PNG_COLOR_TYPE_PALETTE)
        png_set_palette_to_rgb(job->png);
    if (type == PNG_COLOR_TYPE_GRAY && depth < 8)
        png_set_expand_gray_1_2_4_to_8(job->png);
    if (depth == 16)
        png_set_strip_16(job->png);
    if ((type & PNG_COLOR_MASK_COLOR) == 0 && channels == 3)
        png_set_gray_to_rgb(job->png);
    png_set_strip_alpha(job->png);
    return (type & PNG_COLOR_MASK_COLOR) != 0 ? 3 : channels;
}

static void
read_rows(struct job *job, uint32_t channels)
{
    const size_t row = (size_t)job->image.width * channels;
    const int passes = png_set_interlace_handling(job->png);

    png_read_update_info(job->png, job->info);
    if (png_get_rowbytes(job->png, job->info) != row)
        png_error(job->png, "an unexpected kind of pixels");
    for (int pass = 0; pass < passes; pass++) {
        for (size_t y = 0; y < job->image.height; y++)
            png_read_row(job->png, job->image.pixels + y * row, NULL);
    }
}

/* Everything that may jump.  Returns 0 or -CODE, with job->msg or *e filled. */
static int
decode(struct job *job, const struct berth_image_limits *lim, uint32_t channels,
       struct berth_err *e)
{
    uint32_t have;
    int rc;

    if (setjmp(job->jump) != 0) /* NOLINT(cert-err52-cpp): libpng's way, see above */
        return -BERTH_EINVAL;
    job->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, job, on_error, on_warning);
    if (job->png != NULL)
        job->info = png_create_info_struct(job->png);
    if (job->info == NULL)
        return berth_err_set(e, BERTH_ENOMEM, "image: out of memory");
    png_set_read_fn(job->png, job, on_read);
    png_set_user_limits(job->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* ours come below */
    png_set_chunk_malloc_max(job->png, 1 << 20);
    /* Profiles, texts and the like are skipped, not unpacked. */
    png_set_keep_unknown_chunks(job->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_read_info(job->png, job->info);
    have = choose_colours(job, channels);
    rc = berth_image_alloc(png_get_image_width(job->png, job->info),
                           png_get_image_height(job->png, job->info), have, lim->pixels_max,
                           &job->image, e);
    if (rc < 0)
        return rc;
    read_rows(job, have);
    if (have != channels) {
        berth_image_grey(job->image.pixels, (size_t)job->image.width * job->image.height,
                         job->image.pixels);
        job->image.channels = channels;
    }
    return 0;
}

int
berth_image_decode_png(const void *bytes, size_t n, const struct berth_image_limits *lim,
                       uint32_t channels, struct berth_image *ret, struct berth_err *e)
{
    struct job job = {.bytes = bytes, .left = n};
    int rc = decode(&job, lim, channels, e);

    png_destroy_read_struct(&job.png, &job.info, NULL);
    if (rc < 0) {
        berth_image_fini(&job.image);
        return job.msg[0] == '\0'
                   ? rc
                   : berth_err_set(e, (enum berth_code) - rc, "image: PNG: %s", job.msg);
    }
    *ret = job.image;
    return 0;
}
