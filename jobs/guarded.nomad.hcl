# What a virtual service does when not all is well, asked for by tags: `options` says which. The check wants a file that an instance can
# take away without ceasing to serve, and a page of its own stands for all while nobody else serves (`sorry_server`).
# Run: nomad job run -var vip=198.18.0.34:80 jobs/guarded.nomad.hcl, then
# nomad alloc exec -job -task web guarded rm /local/healthy, and curl the VIP.
variable "vip" {
  type    = string
  default = "198.18.0.34:80"
}

variable "count" {
  type    = number
  default = 1
}

variable "options" {
  type    = list(string)
  default = ["ipvs.least_healthy=0.5"]
}

job "guarded" {
  datacenters = ["*"]

  group "servers" {
    count = var.count

    network {
      port "www" {
        to = 8001
      }
    }

    service {
      name         = "guarded-servers"
      provider     = "consul"
      port         = "www"
      address_mode = "host"
      tags         = concat(["ipvs.vip=${var.vip}", "ipvs.snat=true"], var.options)

      check {
        type     = "http"
        path     = "/healthy"
        interval = "1s"
        timeout  = "10s"
      }
    }

    update {
      max_parallel     = 1
      min_healthy_time = "1s"
    }

    task "web" {
      driver = "docker"

      config {
        image   = "busybox:1"
        command = "sh"
        args    = ["-c", "touch /local/healthy; exec httpd -f -p ${NOMAD_PORT_www} -h /local"]
        ports   = ["www"]
      }

      template {
        data        = "guarded: {{env \"NOMAD_ALLOC_ID\"}}\n"
        destination = "local/index.html"
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }

  # The address of a sorry server does not change: a static port.
  group "sorry" {
    network {
      port "www" {
        static = 8099
        to     = 8001
      }
    }

    task "page" {
      driver = "docker"

      config {
        image   = "busybox:1"
        command = "httpd"
        args    = ["-f", "-p", "8001", "-h", "/local"]
        ports   = ["www"]
      }

      template {
        data        = "sorry\n"
        destination = "local/index.html"
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
